"""``setup``: prepare the database for serving."""

import click

from app.database import make_database_file
from app.extensions import get_settings
from app.server.listener import CannotListen, check_can_listen
from app.services import admins
from app.services.setup import make_first_admin

from .migrations import find_revisions, upgrade_database
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
    make_database_file(settings.database_url)
    before = find_revisions()
    if before.is_ahead:
        raise Failure(f"A newer version of Gatehouse has changed the database. For details: {spell_command('doctor')}")
    if not before.is_current:
        upgrade_database()
    admin = make_first_admin()
    lines = ["The database is up to date." if before.is_current else f"The database was upgraded to {before.wanted}."]
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
        "revision": before.wanted,
        "upgraded": not before.is_current,
        "admin": None if admin is None else {"email": admin.email, "password": admin.password},
    }
    return Report(data, lines)
