"""What signed-in callers do with their password: give it again, and replace it."""

import uuid

import sqlalchemy as sa

from app.extensions import db, retried, transaction
from app.models import User
from app.security import Actor, WeakPassword, get_hasher
from app.utils import Message

from . import audit, guesses, notices
from .accounts import InvalidCredentials, hash_new_password
from .mail_tokens import revoke_tokens
from .sessions import delete_sessions, renew_session
from .sign_in_methods import PASSWORD, refuse_unless_on


@retried
def reauthenticate(*, password: str, session_id: uuid.UUID, actor: Actor, account_name: str | None = None) -> str:
    """Make the caller's session fresh again and return its new token; only its own user's password does.

    Raises:
        SignInMethodOff: nobody signs in by a password here.
        InvalidCredentials: the password is wrong.
        TooManyGuesses: there were too many wrong ones in a row.
        SessionNotFound: the session has ended meanwhile.
    """
    verified = _verify_password(actor, password, account_name)
    with transaction():
        user = _get_unchanged(verified, account_name)
        token = renew_session(session_id, user_id=user.id)
        audit.record("session.reauthenticated", actor=actor, target=user.id)
    return token


@retried
def change_password(
    *,
    current_password: str,
    new_password: str,
    session_id: uuid.UUID,
    actor: Actor,
    account_name: str | None = None,
    asked_in: str | None = None,
) -> str:
    """Replace the caller's password and return the session's new token; every other session and mailed link ends.

    ``asked_in`` is the language of the request.

    Raises:
        SignInMethodOff: nobody signs in by a password here.
        InvalidCredentials: the current password is wrong.
        TooManyGuesses: there were too many wrong ones in a row.
        WeakPassword: the new one is.
        SessionNotFound: the session has ended meanwhile.
    """
    verified = _verify_password(actor, current_password, account_name)
    refuse_former_password(verified, new_password, field="new_password")
    about = (verified.email, verified.name)
    password_hash = hash_new_password(new_password, about=about, field="new_password")
    with transaction():
        user = _get_unchanged(verified, account_name)
        user.password_hash = password_hash
        user.is_password_change_required = False
        delete_sessions(user.id, but=session_id)
        revoke_tokens(user.id)
        token = renew_session(session_id, user_id=user.id)
        notices.queue_password_changed(user, asked_in=asked_in)
        audit.record("password.changed", actor=actor, target=user.id)
    return token


# --- for the other services ---


def refuse_former_password(user: User, password: str, *, field: str) -> None:
    """Refuse the password that a user has as the new one, where a new one is required.

    Raises:
        WeakPassword: with the reason under ``field``.
    """
    if user.is_password_change_required and get_hasher().verify(user.password_hash, password):
        message = Message("This is the former password. Choose another one.", "password_unchanged")
        raise WeakPassword(errors={field: [message]})


def _verify_password(actor: Actor, password: str, account_name: str | None) -> User:
    """Return the caller as stored when ``password`` was found to be theirs."""
    refuse_unless_on(PASSWORD)
    # No transaction stays open, and no connection is held, while the password is hashed.
    with db.reading() as reading:
        user = reading.scalars(sa.select(User).where(User.id == actor.user_id)).one_or_none()
        if user is not None:
            guesses.refuse_further(reading, account_name or user.email)
    if user is None or not get_hasher().verify(user.password_hash, password):
        with transaction():
            if user is not None:
                guesses.count_failure(account_name or user.email, is_first=False)
            audit.record("session.reauthentication_refused", actor=actor, target=actor.user_id)
        raise InvalidCredentials("The password is wrong.")
    return user


def _get_unchanged(verified: User, account_name: str | None) -> User:
    """Return the user, locked; refuse if another password was set since ``verified`` was read.

    Raises:
        InvalidCredentials: it was, or the user is gone or inactive.
        TooManyGuesses: others guessed wrong meanwhile, too often.
    """
    name = account_name or verified.email
    is_unchanged = sa.and_(User.id == verified.id, User.is_active, User.password_hash == verified.password_hash)
    query = sa.select(User).where(is_unchanged, guesses.IS_ANSWERED).with_for_update(of=User)
    user = db.session.scalars(query, guesses.bind(name)).one_or_none()
    if user is None:
        guesses.refuse_further(db.session, name)
        raise InvalidCredentials
    guesses.clear(name)
    return user
