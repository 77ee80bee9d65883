"""Clean-up: what has run out is deleted, a few rows at a time, so that nobody waits long for a lock.

Several workers may be at it at once: what one has deleted the other does not find.
"""

import dataclasses
import datetime
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute

from app.clock import now
from app.extensions import db, get_settings, retried, transaction
from app.models import WAITING, GuessCount, Invitation, MailToken, OutboxMessage, Registration, Session

ROWS_AT_ONCE: Final = 200
# So long an administrator sees that an invitation has run out, and can send it again.
INVITATION_KEPT: Final = datetime.timedelta(days=30)
# Many failures are kept for good: they are what keeps an attacker who waits from going on.
GUESSES_KEPT: Final = datetime.timedelta(days=30)
FEW_FAILURES: Final = 10


NOT_KEPT: Final = datetime.timedelta()

_Find: TypeAlias = Callable[[datetime.datetime], Sequence[sa.ColumnElement[bool]]]


@dataclasses.dataclass(frozen=True, slots=True)
class _Rule:
    """Which rows have run out at an instant; they are looked for in the order of a column that has an index."""

    key: InstrumentedAttribute[Any]
    order: InstrumentedAttribute[Any]
    find: _Find


def _find_finished_mails(instant: datetime.datetime) -> Sequence[sa.ColumnElement[bool]]:
    until = instant - datetime.timedelta(days=get_settings().outbox_retention_days)
    # None is finished before it is made: that much is found by the index.
    return OutboxMessage.created_at < until, OutboxMessage.state != WAITING, OutboxMessage.finished_at < until


def _find_old_guesses(instant: datetime.datetime) -> Sequence[sa.ColumnElement[bool]]:
    is_few = GuessCount.failures <= min(FEW_FAILURES, get_settings().guesses_max - 1)
    return GuessCount.failed_at < instant - GUESSES_KEPT, is_few


def _expired_for(column: InstrumentedAttribute[datetime.datetime], kept: datetime.timedelta = NOT_KEPT) -> _Find:
    return lambda instant: [column < instant - kept]


_RULES: Final = {
    "sessions": _Rule(Session.id, Session.expires_at, _expired_for(Session.expires_at)),
    "mail_tokens": _Rule(MailToken.id, MailToken.expires_at, _expired_for(MailToken.expires_at)),
    "registrations": _Rule(Registration.id, Registration.expires_at, _expired_for(Registration.expires_at)),
    "invitations": _Rule(Invitation.id, Invitation.expires_at, _expired_for(Invitation.expires_at, INVITATION_KEPT)),
    "guess_counts": _Rule(GuessCount.account_hash, GuessCount.failed_at, _find_old_guesses),
    "outbox": _Rule(OutboxMessage.id, OutboxMessage.created_at, _find_finished_mails),
}
TABLES: Final = tuple(_RULES)


@retried
def delete_expired(table: str) -> int:
    """Delete rows of ``table`` that have run out, at most ``ROWS_AT_ONCE``, and return how many there were."""
    rule = _RULES[table]
    has_expired = rule.find(now())
    with db.reading() as reading:
        keys = reading.scalars(sa.select(rule.key).where(*has_expired).order_by(rule.order).limit(ROWS_AT_ONCE)).all()
    if keys:
        # Found by their keys, and looked at again: an invitation may have been sent again just now.
        with transaction() as writing:
            writing.connection().execute(sa.delete(rule.key.class_).where(rule.key.in_(keys), *has_expired))
    return len(keys)
