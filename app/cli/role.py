"""``role``: the roles, and what they allow."""

import click

from app.schemas import RoleCreateInput, RoleOutput
from app.security import Actor
from app.services import roles

from .terminal import OperatorGroup, Report, load, make_table

role_group = OperatorGroup("role", help="Show and set roles.")


@role_group.command("list")
def list_() -> Report:
    """List the roles and their permissions."""
    found = roles.list_roles()
    rows = [(each.name, " ".join(sorted(each.permissions)), each.description) for each in found]
    return Report([RoleOutput().dump(each) for each in found], make_table(("NAME", "PERMISSIONS", "DESCRIPTION"), rows))


@role_group.command("set")
@click.argument("name")
@click.argument("permissions", nargs=-1, required=True, metavar="PERMISSION...")
def set_(name: str, permissions: tuple[str, ...]) -> Report:
    """Set a role's permissions to exactly these; the role is created if it does not exist."""
    fields = load(RoleCreateInput(only=("name", "permissions")), {"name": name, "permissions": list(permissions)})
    changed = roles.set_role(**fields, actor=Actor.system())
    return Report(RoleOutput().dump(changed), [f"{changed.name} allows {', '.join(sorted(changed.permissions))}."])
