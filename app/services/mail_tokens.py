"""What mailed links and codes prove: random, single use, expiring; the newest of its purpose alone counts."""

import datetime
import uuid
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.clock import now
from app.extensions import db, get_settings
from app.models import MailToken
from app.security import hash_code, hash_token, is_code, make_token
from app.utils import InvalidInput, Message

NOT_ME: Final = "not_me"
"""The purpose of the links in notices: each stays valid beside the others, whatever happens to the account."""


class InvalidToken(InvalidInput):
    """A token that proves nothing; one answer for every cause."""

    title = "Link not valid"
    detail = "This link is not valid any more: it was used, it ran out, or a newer one was sent. Ask for another."

    def __init__(self, *, field: str = "token") -> None:
        super().__init__(errors={field: [Message(self.detail, "invalid_token")]})


def hash_sent_token(token: object, *, field: str = "token") -> str:
    """Return the hash by which what a caller sent as a token, in ``field``, is looked up.

    Raises:
        InvalidToken: it is no text, or empty.
    """
    if not isinstance(token, str) or not token:
        raise InvalidToken(field=field)
    return hash_token(token)


# --- for the other services, inside a transaction of theirs ---


def add_token(
    purpose: str,
    *,
    user_id: uuid.UUID,
    email: str,
    lifetime_seconds: int,
    asked_at: datetime.datetime | None = None,
    browser_hash: str | None = None,
    code: str | None = None,
    **details: str | None,
) -> str:
    """Add a token to the current transaction and return it; the user's former ones of this purpose are void.

    ``email`` is where it is mailed to. It runs out ``lifetime_seconds`` after it was asked for, now unless ``asked_at``
    says when. With ``browser_hash`` it works in that browser alone, and voids only those for that one: otherwise
    whoever asks in the owner's name would void what the owner asked for. ``code`` proves the same, for
    ``MAIL_CODE_TRIES`` tries.
    """
    if purpose != NOT_ME:
        former = [MailToken.user_id == user_id, MailToken.purpose == purpose, MailToken.browser_hash == browser_hash]
        db.session.connection().execute(sa.delete(MailToken).where(*former))
    created_at = asked_at or now()
    token = make_token()
    row = {
        "purpose": purpose,
        "token_hash": hash_token(token),
        "user_id": user_id,
        "email": email,
        "browser_hash": browser_hash,
        "code_hash": code and hash_code(code, about=_describe_code(purpose, email, browser_hash)),
        "tries_left": get_settings().mail_code_tries if code else 0,
        "details": details,
        "created_at": created_at,
        "expires_at": created_at + datetime.timedelta(seconds=lifetime_seconds),
    }
    db.session.connection().execute(sa.insert(MailToken), row)
    return token


def find_token(session: Session, token: object, purpose: str) -> MailToken | None:
    """Return what ``session`` reads of a token that can still be used, or None; it stays to be used.

    Raises:
        InvalidToken: it is no text, or empty.
    """
    query = sa.select(MailToken).where(MailToken.token_hash == hash_sent_token(token), MailToken.purpose == purpose)
    row = session.scalars(query).one_or_none()
    return None if row is None or row.expires_at <= now() else row


def is_reserved(email: str) -> bool:
    """Say whether a link in a notice may still give this address back to the account that it was mailed to."""
    kept = sa.select(MailToken.id).where(
        MailToken.email == email, MailToken.purpose == NOT_ME, MailToken.expires_at > now()
    )
    return db.session.connection().execute(kept.limit(1)).first() is not None


def use_token(token: object, *purposes: str, browser_hash: str | None = None) -> MailToken:
    """Use up a token in the current transaction and return what it was; of many at once, one gets it.

    Raises:
        InvalidToken: it is unknown, used, expired, for something else or for another browser.
    """
    row = db.session.scalars(
        sa.select(MailToken).where(MailToken.token_hash == hash_sent_token(token), MailToken.purpose.in_(purposes))
    ).one_or_none()
    is_theirs = row is not None and row.browser_hash in {None, browser_hash}
    if row is None or not is_theirs or row.expires_at <= now():
        raise InvalidToken
    # Who deletes the row has used it; everybody else who found it waits here and deletes none.
    used = db.session.connection().execute(sa.delete(MailToken).where(MailToken.id == row.id)).rowcount
    db.session.expunge(row)
    if not used:
        raise InvalidToken
    return row


def use_code(purpose: str, *, email: str, code: str, browser_hash: str | None) -> MailToken | None:
    """Use up the token whose code this is, in the current transaction, and return what it was; of many, one does.

    A wrong code takes one of its tries; when none is left, no code is right any more. Statements are the same for all
    that is wrong, and for addresses that nobody has.
    """
    connection = db.session.connection()
    is_tried = sa.and_(
        MailToken.purpose == purpose,
        MailToken.email == email,
        MailToken.browser_hash == browser_hash,
        MailToken.tries_left > 0,
        MailToken.expires_at > now(),
    )
    row = db.session.scalars(sa.select(MailToken).where(is_tried)).first()
    about = _describe_code(purpose, email, browser_hash)
    if row is not None and row.code_hash is not None and is_code(code, row.code_hash, about=about):
        # Others may have used up its tries, or it, since it was read.
        used = connection.execute(sa.delete(MailToken).where(MailToken.id == row.id, is_tried)).rowcount
        db.session.expunge(row)
        return row if used else None
    connection.execute(sa.update(MailToken).where(is_tried).values(tries_left=MailToken.tries_left - 1))
    return None


def _describe_code(purpose: str, email: str, browser_hash: str | None) -> str:
    """Return what a code is for: elsewhere the same digits have another hash."""
    return f"{purpose} {browser_hash} {email}"


def revoke_tokens(user_id: uuid.UUID, *purposes: str) -> None:
    """Void the user's tokens of these purposes, or all but those of notices, in the current transaction.

    Those of notices stay: whoever took an account over must not be able to void what its owner was mailed.
    """
    named = MailToken.purpose.in_(purposes) if purposes else MailToken.purpose != NOT_ME
    db.session.connection().execute(sa.delete(MailToken).where(MailToken.user_id == user_id, named))


def revoke_tokens_since(user_id: uuid.UUID, instant: datetime.datetime) -> None:
    """Void all tokens of the user in the current transaction, but those of notices from before ``instant``."""
    is_kept = sa.and_(MailToken.purpose == NOT_ME, MailToken.created_at < instant)
    db.session.connection().execute(sa.delete(MailToken).where(MailToken.user_id == user_id, ~is_kept))
