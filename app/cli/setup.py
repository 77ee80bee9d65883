"""``setup``: prepare the database for serving."""

import click

from app.extensions import get_settings
from app.server.listener import CannotListen, check_can_listen
from app.services import admins
from app.services.setup import make_first_admin

from .migrations import Revisions, upgrade_database
from .passwords import frame_password
from .terminal import Failure, OperatorCommand, Report, spell_command


@click.command("setup", cls=OperatorCommand)
@click.option("--check-address", "is_address_checked", is_flag=True, help="First make sure that HOST:PORT is free.")
def setup_command(*, is_address_checked: bool) -> Report:
    """Apply the migrations and create the first administrator; running it again changes nothing."""
    settings = get_settings()
    if is_address_checked:
        try:
            check_can_listen(settings.host, settings.port)
        except CannotListen as error:
            raise Failure(str(error)) from error
    before = upgrade_database()
    admin = make_first_admin()
    upgraded = [each for each in before if not each.is_current]
    lines = [_describe_upgrade(each) for each in upgraded] or ["The database is up to date."]
    if admin is not None and admin.password is not None:
        lines += ["", "The first administrator:", *frame_password(admin.email, admin.password), ""]
    elif admin is not None:
        lines.append(f"Created the first administrator {admin.email} with the password of ADMIN_PASSWORD.")
    elif not admins.has_active_admin():
        lines.append(
            "There is no administrator yet. Set ADMIN_EMAIL and ADMIN_PASSWORD and run this again,"
            f" or run: {spell_command('user create EMAIL --role admin')}"
        )
    data = {
        "revision": before[0].wanted,
        "upgraded": bool(upgraded),
        "extensions": {each.lineage.owner: each.wanted for each in before[1:]},
        "admin": None if admin is None else {"email": admin.email, "password": admin.password},
    }
    return Report(data, lines)


def _describe_upgrade(before: Revisions) -> str:
    if before.lineage.owner is None:
        return f"The database was upgraded to {before.wanted}."
    return f"The tables of {before.lineage.owner} were upgraded to {before.wanted}."
