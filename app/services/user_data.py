"""What others store about a user: what becomes of it with the user, and what the user's export says."""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, cast

import sqlalchemy as sa

from app.database import ReferenceRefused, find_referring_table, list_referring_tables
from app.extending import Extension, copy_json
from app.extending.tables import find_owner
from app.extensions import db, get_extensions, retried
from app.models import (
    AuditEntry,
    Invitation,
    MailToken,
    OutboxMessage,
    Registration,
    User,
    list_product_tables,
    list_user_columns,
)
from app.utils import Conflict

from . import guesses

_USERS: Final = cast("sa.Table", User.__table__)


class UserInUse(Conflict):
    """Something that others store refers to the user, and keeps the user from being deleted."""

    title = "User in use"

    def __init__(self, table: str | None) -> None:
        where = "Another table" if table is None else f"The table {table}"
        super().__init__(f"{where} refers to this user. Delete what it holds about them first, or deactivate the user.")


class Export(NamedTuple):
    """What extensions say about a user, by their names, and the extensions and tables that say nothing."""

    extensions: dict[str, Any]
    left_out: list[str]


@retried
def export(user_id: uuid.UUID) -> Export:
    """Return what extensions store about a user, and what of it is left out."""
    answers = get_extensions().collect(lambda extension: extension.export_user, user_id, read=copy_json)
    silent = [each.name for each in get_extensions() if each.name not in answers and _is_asked(each)]
    return Export(answers, [*silent, *_list_unknown_tables()])


class Traces(NamedTuple):
    """What is stored about a user beside the account: mails, links that still work, invitations that they sent."""

    mails: Sequence[OutboxMessage]
    links: Sequence[MailToken]
    invitations: Sequence[Invitation]


@retried
def export_traces(user_id: uuid.UUID) -> Traces:
    """Return what is stored about a user beside the account, its sessions and the audit trail; no secret is in it."""
    own_email = sa.select(User.email).where(User.id == user_id).scalar_subquery()
    with db.reading() as reading:
        return Traces(
            reading.scalars(sa.select(OutboxMessage).where(OutboxMessage.recipient == own_email)).all(),
            reading.scalars(sa.select(MailToken).where(MailToken.user_id == user_id)).all(),
            reading.scalars(sa.select(Invitation).where(Invitation.inviter_id == user_id)).all(),
        )


@retried
def list_not_exported() -> list[str]:
    """Return the extensions and tables that may hold something about users, beside the accounts themselves."""
    return [*(each.name for each in get_extensions() if _is_asked(each)), *_list_unknown_tables()]


def _is_asked(extension: Extension) -> bool:
    """Say whether ``extension`` may hold something about users."""
    return extension.export_user is not None or any(list_user_columns(model.__table__) for model in extension.models)


def _list_unknown_tables() -> list[str]:
    """Return the tables that refer to users and belong neither to the product nor to an extension that is loaded."""
    with db.reading() as reading:
        referring = list_referring_tables(reading.connection(), User.__tablename__)
    ours = list_product_tables()
    names = [extension.name for extension in get_extensions()]
    return [table for table in referring if table not in ours and find_owner(table, names) is None]


# --- for the other services ---


@contextmanager
def refuse_use(user_id: uuid.UUID | None) -> Iterator[None]:
    """Raise ``UserInUse`` where the block, a whole transaction, deletes a user whom a foreign key keeps."""
    try:
        yield
    except ReferenceRefused as error:
        table = error.table
        if table is None:
            with db.reading() as reading:
                table = find_referring_table(reading.connection(), _USERS, User.id == user_id)
        raise UserInUse(table) from error


def delete_with_data(user: User) -> None:
    """Delete a user in the current transaction with all that is personal, and what extensions declare should go.

    The audit trail keeps what was done, under the user's id, which then stands for nobody.

    Raises:
        UserInUse: one of them refuses.
        ReferenceRefused: a foreign key does.
    """
    connection = db.session.connection()
    for table in _list_chosen("refuse"):
        if connection.execute(sa.select(sa.literal(1)).where(_refers_to(table, user)).limit(1)).first() is not None:
            raise UserInUse(table.name)
    for table in _list_chosen("keep"):
        for column in list_user_columns(table):
            connection.execute(sa.update(table).where(column == user.id).values({column: None}))
    # What refers goes before what it refers to.
    for table in reversed(sa.schema.sort_tables(_list_chosen("delete"))):
        connection.execute(sa.delete(table).where(_refers_to(table, user)))
    guesses.forget(user.email)
    for email in (OutboxMessage.recipient, Invitation.email, Registration.email):
        connection.execute(sa.delete(email.class_).where(email == user.email))
    # What others did to the user keeps where those were.
    of_nobody_else = sa.and_(AuditEntry.actor_id.is_(None), AuditEntry.target == str(user.id))
    own = sa.or_(AuditEntry.actor_id == user.id, of_nobody_else)
    connection.execute(sa.update(AuditEntry).where(own).values(ip=None))
    connection.execute(sa.delete(User).where(User.id == user.id))


def _list_chosen(choice: str) -> list[sa.Table]:
    """Return the tables of which extensions chose that on the deletion of a user."""
    models = [item for extension in get_extensions() for item in extension.on_user_deletion.items()]
    return [model.__table__ for model, chosen in models if chosen == choice]


def _refers_to(table: sa.Table, user: User) -> sa.ColumnElement[bool]:
    return sa.or_(sa.false(), *(column == user.id for column in list_user_columns(table)))
