"""The audit trail: who did what to whom, written in the transaction of the deed itself."""

import datetime
import re
import uuid
from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from app.extensions import db, retried
from app.models import AuditEntry
from app.permissions import ROLE_NAME_MAX_LENGTH
from app.security import Actor

from .cursors import Sort
from .pages import Listing, Page

# Few enough for little memory, many enough that a trail of 200,000 entries takes a few dozen looks.
ABOUT_PAGE: Final = 5000
_ACTION: Final = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")
# As long as the table's columns: SQLite would store more, the others would fail on it.
_ACTION_MAX_LENGTH: Final = 64
_TARGET_MAX_LENGTH: Final = ROLE_NAME_MAX_LENGTH
NEWEST_FIRST: Final = Sort("-created_at", AuditEntry.created_at, AuditEntry.id, is_descending=True)
_ENTRIES: Final[Listing[Any]] = Listing(
    sa.select(*AuditEntry.__table__.columns),
    filters={
        "actor": lambda user_id: AuditEntry.actor_id == user_id,
        "target": lambda target: AuditEntry.target == target,
        "action": lambda action: AuditEntry.action == action,
        "since": lambda instant: AuditEntry.created_at >= instant,
        "until": lambda instant: AuditEntry.created_at < instant,
    },
)


def record(action: str, *, actor: Actor, target: uuid.UUID | str | None = None, **details: object) -> None:
    """Add an entry to the current transaction. ``details`` hold no secret and nothing that a person typed.

    ``action`` is what was done to what, such as ``invoice.created``, of at most 64 characters; so is ``target``, the
    id or the name of what it was done to.

    Raises:
        ValueError: they are not.
    """
    if not _ACTION.fullmatch(action) or len(action) > _ACTION_MAX_LENGTH:
        raise ValueError(
            f"call the action {action!r} as invoice.created is, in {_ACTION_MAX_LENGTH} characters at most"
        )
    about = None if target is None else str(target)
    if about is not None and len(about) > _TARGET_MAX_LENGTH:
        raise ValueError(
            f"the target of {action} has {len(about)} characters, {_TARGET_MAX_LENGTH} at most: take its id"
        )
    entry = {
        "action": action,
        "actor_id": actor.user_id,
        "target": about,
        "ip": actor.ip,
        "details": details,
    }
    db.session.connection().execute(sa.insert(AuditEntry), entry)


@retried
def list_entries_about(user_id: uuid.UUID, *, after: uuid.UUID | None = None) -> Sequence[AuditEntry]:
    """Return the oldest entries, ``ABOUT_PAGE`` at most, of what a user did or had done to them; ``after`` goes on."""
    query = sa.select(AuditEntry).where(sa.or_(AuditEntry.actor_id == user_id, AuditEntry.target == str(user_id)))
    if after is not None:
        query = query.where(AuditEntry.id > after)
    with db.reading() as reading:
        return reading.scalars(query.order_by(AuditEntry.id).limit(ABOUT_PAGE)).all()


@retried
def list_entries(
    *,
    limit: int,
    cursor: str | None = None,
    actor: uuid.UUID | None = None,
    target: str | None = None,
    action: str | None = None,
    since: datetime.datetime | None = None,
    until: datetime.datetime | None = None,
) -> Page[Any]:
    """Return a page of the trail, the newest entry first.

    Raises:
        InvalidInput: the cursor is not one of ours.
    """
    return _ENTRIES.get_page(
        NEWEST_FIRST, limit=limit, cursor=cursor, actor=actor, target=target, action=action, since=since, until=until
    )
