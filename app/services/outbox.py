"""The outbox: mails that wait to be sent, in the transaction of whatever caused them.

Who sends one claims it first: one UPDATE by its key moves ``due_at`` behind the end of a lease, and of several who try
one changes the row. There is no state in between that somebody would have to clear up after a crash: a mail whose
sender died is due again when the lease ends.
"""

import dataclasses
import datetime
import json
import random
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from app.clock import now
from app.extensions import announce_mail, db, get_settings, retried, transaction
from app.models import DEAD, DROPPED, MAIL_ERROR_MAX_LENGTH, WAITING, OutboxMessage
from app.security import seal, unseal
from app.utils import escape_controls

UNREADABLE: Final = "Neither SECRET_KEY nor SECRET_KEY_FALLBACKS opens what it says: put the key back, then retry."

GIVE_UP_AFTER: Final = datetime.timedelta(hours=72)
RETRY_SECONDS: Final = 15
RETRY_MAX_SECONDS: Final = 6 * 3600

_COLUMNS: Final = OutboxMessage.__table__.columns


@dataclasses.dataclass(frozen=True, slots=True)
class QueuedMail:
    """A mail that the worker is about to send, as it was queued."""

    id: uuid.UUID
    recipient: str
    language: str | None
    created_at: datetime.datetime
    context: Mapping[str, str | None] = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Prepared:
    """What a mail's template shows, links included; ``language`` and ``template`` where they change."""

    context: Mapping[str, str | int | None] = dataclasses.field(repr=False)
    language: str | None = None
    template: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedMail:
    """A mail that its claimant alone may send, until the lease ends."""

    id: uuid.UUID
    lease: str
    template: str
    recipient: str
    language: str | None
    is_prepared: bool
    attempts: int
    created_at: datetime.datetime
    give_up_at: datetime.datetime
    sealed_context: str = dataclasses.field(repr=False)


def make_link(page: str, token: str | None = None) -> str:
    """Return the link to the page that answers a mail.

    The token is in the fragment, which browsers keep to themselves: it reaches no server's log, and a scanner that
    opens the link uses nothing up.
    """
    url = f"{get_settings().front_url}/account/{page}"
    return url if token is None else f"{url}#token={token}"


def queue(template: str, *, to: str, language: str | None = None, **context: str | None) -> None:
    """Queue a mail in the current transaction; the worker sends it once that is committed.

    ``to`` is an address in its canonical form. ``language`` is that of the request: the recipient's stored one, which
    the worker looks up, goes before it. ``context`` is what the template shows, or what the worker needs to make that
    of; it is stored encrypted and never shown.
    """
    message = {
        "template": template,
        "recipient": to,
        "language": language,
        "sealed_context": _seal_json(context),
        "give_up_at": now() + GIVE_UP_AFTER,
    }
    db.session.connection().execute(sa.insert(OutboxMessage), message)
    announce_mail()


# --- for whoever sends: each of these is a transaction of its own, and none is open while a mail is sent ---


@retried
def list_due(most: int) -> list[uuid.UUID]:
    """Return the ids of mails that are due, ``most`` of those that waited longest, in random order."""
    due = sa.select(OutboxMessage.id).where(OutboxMessage.state == WAITING, OutboxMessage.due_at <= now())
    with db.reading() as reading:
        found = list(reading.scalars(due.order_by(OutboxMessage.due_at, OutboxMessage.id).limit(most)))
    # So that several workers seldom try for the same one.
    random.shuffle(found)
    return found


@retried
def claim(mail_id: uuid.UUID, *, lease_seconds: float) -> ClaimedMail | None:
    """Claim a mail that is due; None: somebody else has it. Nobody else gets it until the lease ends."""
    instant, lease = now(), uuid.uuid4().hex
    claimed = (
        sa.update(OutboxMessage)
        .where(OutboxMessage.id == mail_id, OutboxMessage.state == WAITING, OutboxMessage.due_at <= instant)
        .values(
            due_at=instant + datetime.timedelta(seconds=lease_seconds),
            lease=lease,
            attempts=OutboxMessage.attempts + 1,
        )
    )
    wanted = sa.select(*(_COLUMNS[field.name] for field in dataclasses.fields(ClaimedMail)))
    with transaction() as writing:
        connection = writing.connection()
        if not connection.execute(claimed).rowcount:
            return None
        row = connection.execute(wanted.where(_COLUMNS.id == mail_id)).one()
    return ClaimedMail(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it


@retried
def finish(mail: ClaimedMail, state: str, *, error: str | None = None) -> bool:
    """Note that a mail was sent, dropped or given up; False: its lease had ended, and it is somebody else's.

    What it says is forgotten, unless it was given up and may be sent again.
    """
    values: dict[str, Any] = {"state": state, "finished_at": now(), "last_error": _cut(error), "lease": None}
    if state != DEAD:
        values["sealed_context"] = ""
    with transaction():
        return _change(mail, values)


@retried
def put_off(mail: ClaimedMail, *, error: str) -> str | None:
    """Note that a mail could not be sent and return its state: waiting, or dead when it has been tried long enough.

    None: its lease had ended, and it is somebody else's.
    """
    instant = now()
    # "Full jitter": what failed together does not come back together.
    longest = min(RETRY_MAX_SECONDS, RETRY_SECONDS * 2 ** min(mail.attempts - 1, 20))
    pause = datetime.timedelta(seconds=random.uniform(0, longest))  # noqa: S311 - no secret hangs on it
    state = WAITING if instant < mail.give_up_at else DEAD
    values: dict[str, Any] = {"state": state, "last_error": _cut(error), "lease": None}
    values |= {"due_at": instant + pause} if state == WAITING else {"finished_at": instant}
    with transaction():
        return state if _change(mail, values) else None


# --- for the other services, inside a transaction of theirs ---


def lock_mail(mail: ClaimedMail) -> bool:
    """Lock a claimed mail in the current transaction; False: its lease has ended."""
    query = sa.select(OutboxMessage.id).where(*_is_own(mail)).with_for_update()
    return db.session.connection().execute(query).first() is not None


def store_prepared(mail: ClaimedMail, prepared: Prepared) -> ClaimedMail:
    """Store what a mail shows in the current transaction and return it so; sent again, it shows the same links."""
    content = {"template": prepared.template or mail.template, "context": dict(prepared.context)}
    ready = dataclasses.replace(
        mail,
        is_prepared=True,
        language=prepared.language or mail.language,
        sealed_context=_seal_json(content),
    )
    names = ("is_prepared", "language", "sealed_context")
    _change(mail, {name: getattr(ready, name) for name in names})
    return ready


def read_context(mail: ClaimedMail) -> Prepared:
    """Return what a mail shows, or what was queued to make that of.

    Raises:
        NotSealedByUs: it was encrypted under a key that is not in force any more.
    """
    content = json.loads(unseal(mail.sealed_context))
    # What is queued keeps the name that mails to one address are counted by.
    return Prepared(**content) if mail.is_prepared else Prepared(content, template=mail.template)


def has_newer(mail: ClaimedMail) -> bool:
    """Say whether a mail of this template that was queued later went to the same address already, or is about to."""
    is_later = sa.or_(
        _COLUMNS.created_at > mail.created_at,
        sa.and_(_COLUMNS.created_at == mail.created_at, _COLUMNS.id > mail.id),
    )
    newer = sa.select(_COLUMNS.id).where(
        _COLUMNS.recipient == mail.recipient,
        is_later,
        _COLUMNS.template == mail.template,
        _COLUMNS.state != DROPPED,
        _COLUMNS.is_prepared,
    )
    return db.session.connection().execute(newer.limit(1)).first() is not None


def count_earlier(mail: ClaimedMail, *, seconds: int) -> int:
    """Return how many mails of this template were sent, or are to be, to the same address in the time before it."""
    since = mail.created_at - datetime.timedelta(seconds=seconds)
    is_as_old = sa.and_(_COLUMNS.created_at == mail.created_at, _COLUMNS.id < mail.id)
    is_before = sa.or_(_COLUMNS.created_at < mail.created_at, is_as_old)
    earlier = sa.select(sa.func.count()).where(
        _COLUMNS.recipient == mail.recipient,
        _COLUMNS.created_at > since,
        _COLUMNS.template == mail.template,
        _COLUMNS.state != DROPPED,
        _COLUMNS.id != mail.id,
        # One that is prepared already counts, even if it was queued a moment later.
        sa.or_(is_before, _COLUMNS.is_prepared),
    )
    return db.session.connection().execute(earlier).scalar_one()


def _is_own(mail: ClaimedMail) -> Sequence[sa.ColumnElement[bool]]:
    return OutboxMessage.id == mail.id, OutboxMessage.lease == mail.lease, OutboxMessage.state == WAITING


def _change(mail: ClaimedMail, values: Mapping[str, Any]) -> bool:
    """Change a claimed mail in the current transaction; False: its lease has ended."""
    update = sa.update(OutboxMessage).where(*_is_own(mail)).values(**values)
    return db.session.connection().execute(update).rowcount == 1


def _seal_json(content: Mapping[str, Any]) -> str:
    return seal(json.dumps(content, ensure_ascii=False))


def _cut(error: str | None) -> str | None:
    return None if error is None else escape_controls(error)[:MAIL_ERROR_MAX_LENGTH]
