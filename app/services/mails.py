"""Mails as administrators see them: listed, sent again, encrypted anew, counted; what they say is never told."""

import dataclasses
import datetime
import uuid
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from app.clock import now
from app.extensions import announce_mail, db, retried, transaction
from app.models import DEAD, WAITING, OutboxMessage
from app.security import Actor, NotSealedByUs, is_sealed_by_current_key, seal, unseal
from app.utils import Conflict, NotFound

from . import audit
from .cursors import Sort
from .outbox import GIVE_UP_AFTER, UNREADABLE
from .pages import Listing, Page

LATE: Final = datetime.timedelta(minutes=5)
UNCLAIMED: Final = datetime.timedelta(minutes=1)
ROWS_AT_ONCE: Final = 100

NEWEST_FIRST: Final = Sort("-created_at", OutboxMessage.created_at, OutboxMessage.id, is_descending=True)
_COLUMNS: Final = OutboxMessage.__table__.columns
# What a mail says is not among them.
_SHOWN: Final = (
    "id",
    "template",
    "recipient",
    "state",
    "attempts",
    "last_error",
    "created_at",
    "due_at",
    "finished_at",
)
_LISTED_COLUMNS: Final[sa.Select[Any]] = sa.select(*(_COLUMNS[name] for name in _SHOWN))
_LISTED: Final[Listing[Any]] = Listing(_LISTED_COLUMNS, filters={"state": lambda state: OutboxMessage.state == state})


class MailNotFound(NotFound):
    """There is no such mail in the outbox."""

    detail = "There is no mail with this id in the outbox; mails are forgotten some days after they were sent."


class NotDead(Conflict):
    """The mail was not given up, so that there is nothing to retry."""

    title = "Mail not given up"
    detail = "Only a mail that was given up (dead) can be sent again."


@dataclasses.dataclass(frozen=True, slots=True)
class Resealed:
    """How many mails were under the present key already, are now, or are under none; and where to go on, if at all."""

    last_id: uuid.UUID | None
    current: int
    rotated: int
    unreadable: int


class Backlog(NamedTuple):
    """How many mails wait, how many of these for long, how many of these nobody takes, and how many were given up."""

    waiting: int
    late: int
    unclaimed: int
    dead: int


@retried
def list_mails(*, limit: int, cursor: str | None = None, state: str | None = None) -> Page[Any]:
    """Return a page of the outbox, the newest mail first; nothing of what they say.

    Raises:
        InvalidCursor: the cursor is not one of ours.
    """
    return _LISTED.get_page(NEWEST_FIRST, limit=limit, cursor=cursor, state=state)


@retried
def retry(mail_id: uuid.UUID, *, actor: Actor) -> sa.Row[Any]:
    """Send a mail that was given up once more, at once and then as often as a new one; return it as it is listed.

    Raises:
        MailNotFound: there is none.
        NotDead: it was not given up.
    """
    instant = now()
    values = {"state": WAITING, "due_at": instant, "give_up_at": instant + GIVE_UP_AFTER, "attempts": 0, "lease": None}
    of_id = OutboxMessage.id == mail_id
    revived = sa.update(OutboxMessage).where(of_id, OutboxMessage.state == DEAD).values(finished_at=None, **values)
    with transaction() as writing:
        connection = writing.connection()
        is_revived = connection.execute(revived).rowcount
        row = connection.execute(_LISTED_COLUMNS.where(of_id)).one_or_none()
        if row is None:
            raise MailNotFound
        if not is_revived:
            raise NotDead
        audit.record("mail.retried", actor=actor, target=mail_id)
        announce_mail()
    return row


@retried
def reseal(*, after: uuid.UUID | None = None) -> Resealed:
    """Encrypt what waits under the present key, ``ROWS_AT_ONCE`` mails behind ``after``; what no key opens is dead."""
    query = sa.select(_COLUMNS.id, _COLUMNS.sealed_context).where(_COLUMNS.sealed_context != "")
    if after is not None:
        query = query.where(_COLUMNS.id > after)
    rotated = unreadable = 0
    with transaction() as writing:
        connection = writing.connection()
        rows = connection.execute(query.order_by(_COLUMNS.id).limit(ROWS_AT_ONCE)).all()
        for row in rows:
            # Only if nobody has made its links meanwhile.
            as_read = sa.and_(OutboxMessage.id == row.id, OutboxMessage.sealed_context == row.sealed_context)
            if is_sealed_by_current_key(row.sealed_context):
                continue
            try:
                sealed = seal(unseal(row.sealed_context))
            except NotSealedByUs:
                dead = {"state": DEAD, "last_error": UNREADABLE, "finished_at": now(), "lease": None}
                connection.execute(sa.update(OutboxMessage).where(as_read, OutboxMessage.state == WAITING).values(dead))
                unreadable += 1
            else:
                changed = connection.execute(sa.update(OutboxMessage).where(as_read).values(sealed_context=sealed))
                rotated += changed.rowcount
    last = rows[-1].id if len(rows) == ROWS_AT_ONCE else None
    return Resealed(last, current=len(rows) - rotated - unreadable, rotated=rotated, unreadable=unreadable)


@retried
def is_late() -> bool:
    """Say whether a mail waits for longer than ``LATE``."""
    late = sa.select(_COLUMNS.id).where(_COLUMNS.state == WAITING, _COLUMNS.give_up_at < _make_late_bound())
    with db.reading() as reading:
        return reading.execute(late.limit(1)).first() is not None


@retried
def count_waiting() -> Backlog:
    """Return how many mails wait and were given up, and whether anybody sends."""
    is_waiting = _COLUMNS.state == WAITING
    conditions = (
        is_waiting,
        sa.and_(is_waiting, _COLUMNS.give_up_at < _make_late_bound()),
        sa.and_(is_waiting, _COLUMNS.due_at < now() - UNCLAIMED),
        _COLUMNS.state == DEAD,
    )
    counts = (sa.func.count(sa.case((condition, 1))) for condition in conditions)
    query = sa.select(*counts).where(_COLUMNS.state.in_([WAITING, DEAD]))
    with db.reading() as reading:
        return Backlog(*map(int, reading.execute(query).one()))


def _make_late_bound() -> datetime.datetime:
    # Until when a mail is tried says when that began, also of one that is retried.
    return now() + GIVE_UP_AFTER - LATE
