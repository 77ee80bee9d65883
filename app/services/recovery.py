"""Getting back in: passwords reset by a mailed link, and what the owner of an account does with "this was not me"."""

import contextlib
import datetime
import logging
import uuid
from typing import Final

import sqlalchemy as sa

from app.clock import now
from app.database import refuse_duplicate
from app.extensions import db, get_settings, limiter, retried, transaction
from app.models import MailToken, User
from app.ratelimit import RateLimitStoreAway
from app.security import Actor, Client, list_account_keys

from . import audit, guesses, notices, outbox
from .accounts import EmailTaken, UserNotFound, hash_new_password, read_user
from .mail_tokens import NOT_ME, InvalidToken, add_token, find_token, revoke_tokens, revoke_tokens_since, use_token
from .outbox import Prepared, QueuedMail, make_link
from .passwords import refuse_former_password
from .sessions import delete_sessions
from .sign_in_methods import PASSWORD, refuse_unless_on
from .users import get_target

logger = logging.getLogger(__name__)

RESET: Final = "reset_password"


@retried
def request_reset(*, email: str, asked_in: str) -> None:
    """Mail an address a link to choose a new password, if an account has it; nobody learns whether one does.

    ``asked_in`` is the language of the request.

    Raises:
        SignInMethodOff: nobody signs in by a password here.
    """
    refuse_unless_on(PASSWORD)
    with transaction():
        outbox.queue("reset_password", to=email, language=asked_in)


@retried
def mail_reset(user_id: uuid.UUID, *, actor: Actor) -> None:
    """Mail a user a link to choose a new password; one who is not active gets none.

    Raises:
        UserNotFound: there is none.
        TargetOutranksActor: the user may do what the actor may not.
        SignInMethodOff: nobody signs in by a password here.
    """
    refuse_unless_on(PASSWORD)
    with transaction():
        user = get_target(user_id, actor)
        queue_reset(user)
        audit.record("password.reset_mailed", actor=actor, target=user.id)


def prepare_reset_password(mail: QueuedMail) -> Prepared | None:
    """Make the link that resets a password; nobody gets one who signed in, or was mailed a newer one, since."""
    query = sa.select(User).where(User.email == mail.recipient).with_for_update()
    user = db.session.scalars(query).one_or_none()
    lifetime = get_settings().reset_lifetime
    is_late = mail.created_at + datetime.timedelta(seconds=lifetime) <= now()
    if user is None or is_late or not _may_reset(user, email=mail.recipient, asked_at=mail.created_at):
        return None
    newer = sa.select(MailToken.id).where(
        MailToken.user_id == user.id, MailToken.purpose == RESET, MailToken.created_at > mail.created_at
    )
    if db.session.execute(newer).first() is not None:
        return None
    token = add_token(RESET, user_id=user.id, email=user.email, lifetime_seconds=lifetime, asked_at=mail.created_at)
    shown = {"link": make_link("reset", token), "expires_in": str(lifetime)}
    return Prepared(shown, language=user.language, template="reset_password")


@retried
def reset_password(*, token: object, new_password: str, client: Client) -> str:
    """Replace the password of the account that a mailed link is for, and return the account's address.

    It proves the address. Every session of the account ends, every other link but those of notices is void, and what
    throttled guesses at it is cleared. A password that is refused does not use the link up.

    Raises:
        InvalidToken: it proves nothing, or somebody signed in, or the address changed, since it was asked for.
        WeakPassword: with the reason.
        SignInMethodOff: nobody signs in by a password here.
    """
    refuse_unless_on(PASSWORD)
    with db.reading() as reading:
        found = find_token(reading, token, RESET)
        user = reading.get(User, found.user_id) if found else None
    if found is None or user is None or not _may_reset(user, email=found.email, asked_at=found.created_at):
        raise InvalidToken
    refuse_former_password(user, new_password, field="new_password")
    # Hashing happens outside the transaction: on SQLite nobody else could write meanwhile.
    password_hash = hash_new_password(new_password, about=(user.email, user.name), field="new_password")
    with transaction():
        user = _lock_user(found.user_id)
        used = use_token(token, RESET)
        if not _may_reset(user, email=used.email, asked_at=used.created_at):
            raise InvalidToken
        user.password_hash = password_hash
        user.is_password_change_required = False
        user.email_verified_at = user.email_verified_at or now()
        delete_sessions(user.id)
        revoke_tokens(user.id)
        guesses.forget(user.email)
        notices.queue_password_changed(user, asked_in=client.language)
        audit.record("password.reset", actor=client.as_actor(user.id), target=user.id)
    _clear_windows(user.email)
    return user.email


@retried
def reject_change(*, token: object, client: Client) -> None:
    """Undo what a notice told of: the owner of the address that it was mailed to says that it was somebody else.

    All sessions end, the password is void, and so is every link but those of earlier notices. The address of then is
    the account's again, unless another account has it, and is mailed a link to choose a new password.

    Raises:
        InvalidToken: it proves nothing.
    """
    with db.reading() as reading:
        found = find_token(reading, token, NOT_ME)
    if found is None:
        raise InvalidToken
    with transaction():
        user = _lock_user(found.user_id)
        used = use_token(token, NOT_ME)
        changed_email = user.email if user.email != used.email else None
        if changed_email is not None:
            _restore_email(user, used.email)
        user.password_hash = None
        user.deletion_due_at = None
        delete_sessions(user.id)
        revoke_tokens_since(user.id, used.created_at)
        # Where the former address is another's by now, whoever reads the present one may be who is complained of.
        if user.email == used.email:
            queue_reset(user)
        is_restored = changed_email is not None and user.email == used.email
        actor = client.as_actor(user.id)
        audit.record("user.change_rejected", actor=actor, target=user.id, email_restored=is_restored)


# --- for the other services, inside a transaction of theirs ---


def queue_reset(user: User) -> None:
    """Mail a user, in the current transaction, a link to choose a new password, where people sign in by one.

    Nobody can use up such mails by asking for many: they are not those that anybody can ask for.
    """
    if PASSWORD in get_settings().sign_in_methods:
        outbox.queue("set_password", to=user.email, language=user.language)


def _may_reset(user: User, *, email: str, asked_at: datetime.datetime) -> bool:
    """Say whether a link that was asked for at ``asked_at`` and mailed to ``email`` still is the user's."""
    has_signed_in = user.last_login_at is not None and user.last_login_at > asked_at
    return user.is_active and user.email == email and not has_signed_in


def _lock_user(user_id: uuid.UUID) -> User:
    """Return the user, locked before any token of theirs is, as whoever changes a password does it."""
    try:
        return read_user(user_id, is_locked=True)
    except UserNotFound as error:
        raise InvalidToken from error


def _restore_email(user: User, email: str) -> None:
    """Give a user a former address back, unless another has it."""
    with contextlib.suppress(EmailTaken), refuse_duplicate(User.email, EmailTaken), db.session.begin_nested():
        user.email = email
        user.email_verified_at = now()


def _clear_windows(email: str) -> None:
    """Forget what the limiter counted of guesses at the account."""
    try:
        limiter.inspector.clear(*list_account_keys(email))
    except RateLimitStoreAway:
        # The reset is done; the windows run out by themselves.
        logger.warning("the store of the limiter is away: what it counted of an account's guesses stays")
