"""``user``: single accounts."""

from typing import Any, Final

import click

from app.extensions import get_settings
from app.languages import LANGUAGES
from app.models import User
from app.schemas import PAGE_LIMIT, InvitationOutput, UserCreateInput, UserOutput
from app.security import Actor
from app.services import accounts, invitations, recovery, roles, users
from app.services.users import ListedUser

from .passwords import ask_password, frame_password, read_password
from .terminal import EMAIL, OperatorGroup, Report, load, make_table, note, spell_command

LIST_MAX: Final = 100_000

user_group = OperatorGroup("user", help="Create, find and change accounts.")


@user_group.command("create")
@click.argument("email", type=EMAIL)
@click.option("--name", default="", help="What the person is called.")
@click.option("--role", "role_names", multiple=True, metavar="ROLE", help="A role to give; may be repeated.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
def create(email: str, name: str, role_names: tuple[str, ...], *, password_stdin: bool) -> Report:
    """Create an account.

    Without --password-stdin, the password is typed at the terminal; without a terminal, the account has none.
    """
    password = read_password() if password_stdin else ask_password()
    given = {"email": email, "name": name} | ({"password": password} if password else {})
    fields = load(UserCreateInput(), given)
    made = users.create_user(**fields, roles=role_names, actor=Actor.system())
    lines = [f"Created {made.email} with {_join(made.role_names)}."]
    if password is None:
        lines.append(f"It has no password yet. To set one: {spell_command(f'user reset-password {made.email}')}")
    return Report(_dump(made), lines)


@user_group.command("invite")
@click.argument("email", type=EMAIL)
@click.option("--role", "role_names", multiple=True, metavar="ROLE", help="A role to give; may be repeated.")
@click.option("--language", type=click.Choice(LANGUAGES), help="The language of the mail and the account.")
def invite(email: str, role_names: tuple[str, ...], language: str | None) -> Report:
    """Mail an invitation; using its link makes the account, its address verified."""
    made = invitations.invite(email=email, roles=role_names, language=language, actor=Actor.system())
    return Report(InvitationOutput().dump(made), [f"Queued a mail that invites {made.email}."])


@user_group.command("list")
@click.option("--q", help="Beginnings of words of the name or the e-mail address.")
@click.option("--role", help="Only those with this role.")
@click.option("--limit", type=click.IntRange(1, LIST_MAX), default=50, show_default=True, help="At most this many.")
def list_(q: str | None, role: str | None, limit: int) -> Report:
    """List accounts, oldest first."""
    if role is not None:
        roles.get_role(role)
    found: list[ListedUser] = []
    cursor = None
    while len(found) < limit:
        page = users.list_users(limit=min(PAGE_LIMIT, limit - len(found)), q=q, role=role, cursor=cursor)
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            break
    rows = [
        (
            each.email,
            each.name,
            ", ".join(each.role_names),
            "active" if each.is_active else "inactive",
            f"{each.last_login_at:%Y-%m-%d %H:%M}" if each.last_login_at else "never",
        )
        for each in found
    ]
    if cursor is not None:
        note(f"There are more than {limit}. Ask for more with --limit.")
    data = {"items": [_dump(each) for each in found], "has_more": cursor is not None}
    return Report(data, make_table(("EMAIL", "NAME", "ROLES", "STATE", "LAST SIGN-IN"), rows))


@user_group.command("grant")
@click.argument("email", type=EMAIL)
@click.argument("role")
def grant(email: str, role: str) -> Report:
    """Give a role to an account; having it already is fine."""
    changed = users.assign_role(accounts.get_user_by_email(email).id, role, actor=Actor.system())
    return Report(_dump(changed), [f"{changed.email} has {_join(changed.role_names)}."])


@user_group.command("revoke")
@click.argument("email", type=EMAIL)
@click.argument("role")
def revoke(email: str, role: str) -> Report:
    """Take a role from an account; not having it is fine."""
    changed = users.revoke_role(accounts.get_user_by_email(email).id, role, actor=Actor.system())
    return Report(_dump(changed), [f"{changed.email} has {_join(changed.role_names)}."])


@user_group.command("deactivate")
@click.argument("email", type=EMAIL)
def deactivate(email: str) -> Report:
    """Keep an account from signing in and end its sessions."""
    changed = _set_active(email, is_active=False)
    return Report(_dump(changed), [f"{changed.email} is inactive; its sessions have ended."])


@user_group.command("activate")
@click.argument("email", type=EMAIL)
def activate(email: str) -> Report:
    """Let an account sign in again."""
    changed = _set_active(email, is_active=True)
    return Report(_dump(changed), [f"{changed.email} is active."])


@user_group.command("unlock")
@click.argument("email", type=EMAIL)
def unlock(email: str) -> Report:
    """Forget the wrong passwords and codes that keep an account from being signed in to."""
    target = accounts.get_user_by_email(email)
    users.unlock(target.id, actor=Actor.system())
    settings = get_settings()
    if settings.ratelimit_enabled and settings.ratelimit_storage_uri.kind == "memory":
        note("Each server process keeps short waits of its own with memory://; they pass by themselves.")
    return Report({"email": target.email, "unlocked": True}, [f"{target.email} can be signed in to again."])


@user_group.command("reset-password")
@click.argument("email", type=EMAIL)
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.option(
    "--mail", "by_mail", is_flag=True, help="Mail the owner a link to choose one; until then nothing changes."
)
def reset_password(email: str, *, password_stdin: bool, by_mail: bool) -> Report:
    """Set a new password and end every session of the account; the owner is told by mail.

    Without --password-stdin and --mail, a password is generated and shown once.
    """
    if by_mail:
        if password_stdin:
            raise click.UsageError("Give --password-stdin or --mail: with a mailed link the owner chooses.")
        return _mail_reset(email)
    given = read_password() if password_stdin else None
    if given is not None:
        load(UserCreateInput(only=("password",)), {"password": given})
    target = accounts.get_user_by_email(email)
    new = users.reset_password(target.id, password=given, actor=Actor.system())
    data = {"email": target.email, "password": None if given else new}
    lines = [f"{target.email} has a new password; its sessions have ended."]
    return Report(data, lines if given else [*lines, *frame_password(target.email, new)])


@user_group.command("require-password-change")
@click.argument("email", type=EMAIL)
@click.option("--lift", is_flag=True, help="Require it no longer.")
def require_password_change(email: str, *, lift: bool) -> Report:
    """Have the owner choose another password at the next sign-in; the account's sessions end."""
    target = accounts.get_user_by_email(email)
    changes = {"is_password_change_required": not lift}
    changed = users.update_user(target.id, changes=changes, actor=Actor.system())
    line = f"{changed.email} may keep its password." if lift else f"{changed.email} has to change its password."
    return Report(_dump(changed), [line])


def _mail_reset(email: str) -> Report:
    target = accounts.get_user_by_email(email)
    recovery.mail_reset(target.id, actor=Actor.system())
    lines = [f"{target.email} is mailed a link to choose a new password. Mails are sent by: {spell_command('worker')}"]
    return Report({"email": target.email, "password": None}, lines)


def _set_active(email: str, *, is_active: bool) -> User:
    target = accounts.get_user_by_email(email)
    return users.update_user(target.id, changes={"is_active": is_active}, actor=Actor.system())


def _dump(each: User | ListedUser) -> Any:  # noqa: ANN401 - Marshmallow ships no better
    return UserOutput(exclude=("extensions",)).dump(each)


def _join(names: list[str]) -> str:
    if not names:
        return "no role"
    return ("the role " if len(names) == 1 else "the roles ") + ", ".join(names)
