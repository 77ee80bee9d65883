"""Roles and what they allow. Nobody hands out a permission that they do not hold."""

from collections.abc import Iterable, Sequence

import sqlalchemy as sa
from sqlalchemy.orm import selectinload

from app.database import refuse_duplicate
from app.extensions import db, get_permissions, retried, transaction
from app.models import Role, RolePermission
from app.permissions import ADMIN_ROLE, is_role_name
from app.security import Actor
from app.utils import Conflict, Forbidden, InvalidInput, Message, NotFound

from . import audit


class RoleNotFound(NotFound):
    """There is no such role."""

    detail = "There is no role with this name."


class RoleExists(Conflict):
    """There is a role with this name."""

    detail = "There is a role with this name already."


class BuiltInRole(Conflict):
    """The product relies on this role."""

    title = "Built-in role"
    detail = "The built-in roles cannot be deleted, and admin always holds every permission."


class InvalidRoleName(InvalidInput):
    """A role cannot be called so."""

    detail = "A role's name begins with a small letter and holds small letters, digits, - and _, 64 at most."


class UnknownPermission(InvalidInput):
    """A permission is not declared."""

    detail = "See GET /api/v1/permissions for those there are."


class UngrantablePermission(Forbidden):
    """The actor does not hold what would be handed out or taken."""

    title = "Permission not yours to give"

    def __init__(self, missing: Iterable[str]) -> None:
        super().__init__(
            f"You do not hold {', '.join(sorted(missing))} yourself, so you cannot hand it out or take it."
        )


@retried
def list_roles() -> Sequence[Role]:
    """Return all roles by name."""
    return db.session.scalars(sa.select(Role).options(selectinload(Role.permission_rows)).order_by(Role.name)).all()


@retried
def get_role(name: str) -> Role:
    """Return a role.

    Raises:
        RoleNotFound: there is none.
    """
    return read_role(name)


@retried
def create_role(*, name: str, description: str, permissions: Iterable[str], actor: Actor) -> Role:
    """Make a role.

    Raises:
        InvalidRoleName: a role cannot be called so.
        RoleExists: there is one of that name.
        UnknownPermission: a permission is not declared.
        UngrantablePermission: the actor does not hold one of them.
    """
    if not is_role_name(name):
        raise InvalidRoleName(errors={"name": [Message(InvalidRoleName.detail, "invalid_role_name")]})
    wanted = _check_permissions(permissions)
    refuse_ungrantable(wanted, actor)
    with refuse_duplicate(Role.name, RoleExists), transaction() as writing:
        role = Role(name=name, description=description)
        role.permission_rows = [RolePermission(permission=permission) for permission in sorted(wanted)]
        writing.add(role)
        writing.flush()
        audit.record("role.created", actor=actor, target=name, permissions=sorted(wanted))
    return role


@retried
def update_role(
    name: str, *, description: str | None = None, permissions: Iterable[str] | None = None, actor: Actor
) -> Role:
    """Change what a role says or allows; it acts on its users' very next request.

    Raises:
        RoleNotFound: there is none.
        BuiltInRole: what ``admin`` allows cannot be changed.
        UnknownPermission: a permission is not declared.
        UngrantablePermission: the actor does not hold one that would be added or taken, or, to describe the role
            anew, all that it allows.
    """
    wanted = None if permissions is None else _check_permissions(permissions)
    with transaction():
        role = read_role(name, is_locked=True)
        if description is not None and description != role.description:
            # What a role is said to be for is how others decide whom to give it.
            refuse_ungrantable(role.permissions, actor)
            role.description = description
        if wanted is not None and wanted != role.permissions:
            if name == ADMIN_ROLE:
                raise BuiltInRole
            refuse_ungrantable(wanted ^ role.permissions, actor)
            # What an extension declared that is not listed now counts for nothing, and comes back with it.
            declared = get_permissions()
            kept = [row for row in role.permission_rows if row.permission in wanted or row.permission not in declared]
            added = wanted - {row.permission for row in kept}
            role.permission_rows = [*kept, *(RolePermission(permission=permission) for permission in sorted(added))]
        audit.record("role.updated", actor=actor, target=name, permissions=sorted(role.permissions))
    return role


def set_role(name: str, *, permissions: Iterable[str], actor: Actor) -> Role:
    """Make a role that allows just ``permissions``, or change the one there is.

    Raises:
        BuiltInRole: what ``admin`` allows cannot be changed.
        UnknownPermission: a permission is not declared.
        UngrantablePermission: the actor does not hold one that would be added or taken.
    """
    wanted = list(permissions)
    try:
        return update_role(name, permissions=wanted, actor=actor)
    except RoleNotFound:
        return create_role(name=name, description="", permissions=wanted, actor=actor)


@retried
def delete_role(name: str, *, actor: Actor) -> None:
    """Delete a role; whoever had it loses it.

    Raises:
        RoleNotFound: there is none.
        BuiltInRole: the product relies on it.
        UngrantablePermission: it holds what the actor does not.
    """
    with transaction() as writing:
        role = read_role(name, is_locked=True)
        if role.is_built_in:
            raise BuiltInRole
        refuse_ungrantable(role.permissions, actor)
        writing.delete(role)
        audit.record("role.deleted", actor=actor, target=name)


# --- for the other services, inside a transaction of theirs ---


def read_role(name: str, *, is_locked: bool = False, is_kept: bool = False) -> Role:
    """Return a role.

    With ``is_locked`` nobody else reads it to change or to refer to it until the transaction ends; with ``is_kept``
    nobody changes or deletes it until then. What is referred to has to be kept, or the foreign key refuses, after
    everything was found to be in order.

    Raises:
        RoleNotFound: there is none.
    """
    query = sa.select(Role).where(Role.name == name).options(selectinload(Role.permission_rows))
    if is_locked or is_kept:
        query = query.with_for_update(of=Role, read=not is_locked).execution_options(populate_existing=True)
    # A name that no role can have may hold what a driver refuses, such as NUL.
    role = db.session.scalars(query).one_or_none() if is_role_name(name) else None
    if role is None:
        raise RoleNotFound
    return role


def refuse_ungrantable(permissions: frozenset[str], actor: Actor) -> None:
    """Refuse to go on if ``permissions`` are more than the actor holds.

    Raises:
        UngrantablePermission: naming those that are missing.
    """
    if not permissions <= actor.permissions:
        raise UngrantablePermission(permissions - actor.permissions)


def _check_permissions(permissions: Iterable[str]) -> frozenset[str]:
    wanted = frozenset(permissions)
    unknown = sorted(wanted - get_permissions())
    if unknown:
        messages = [
            Message(f"There is no permission {name!r}.", "unknown_permission", permission=name) for name in unknown
        ]
        raise UnknownPermission(errors={"permissions": messages})
    return wanted
