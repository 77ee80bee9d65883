"""Signing in, and giving proof again, by what was mailed: a link or a six-digit code, for one browser, once.

Whoever asks is told nothing, and nothing is looked up then: the worker does that when it makes the mail.
"""

import contextlib
import dataclasses
import hashlib
import uuid
from collections.abc import Callable
from typing import Final

import sqlalchemy as sa

from app.clock import now
from app.extensions import db, get_settings, retried, transaction
from app.models import MailToken, User
from app.security import Actor, Client, make_code

from . import audit, guesses, notices, outbox
from .accounts import InvalidCredentials, read_user
from .guesses import TooManyGuesses
from .mail_tokens import InvalidToken, add_token, use_code, use_token
from .outbox import Prepared, QueuedMail, make_link
from .registrations import verify_address
from .sessions import SignIn, add_session, renew_session
from .sign_in_methods import MAIL_CODE, MAIL_LINK, refuse_unless_on

SIGN_IN: Final = "sign_in"
REAUTHENTICATION: Final = "reauthentication"
WRONG_CODE: Final = "The code is wrong, was used, or has run out; five wrong tries end it too. Ask for another."


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """Who tries to sign in by what was mailed, and what session they want.

    ``browser_hash`` is the browser's, None where it did not ask; ``replaces`` the token of the session that the new one
    takes the place of, and ``caller_id`` whose that is; ``name_account`` is ``security.choose_account_name``.
    """

    browser_hash: str | None
    client: Client
    is_remembered: bool
    replaces: str | None
    caller_id: uuid.UUID | None
    name_account: Callable[[str], str]


@retried
def request_sign_in(*, email: str, browser_hash: str, asked_in: str) -> None:
    """Mail an address what signs in whoever has it; nobody learns whether there is such an account.

    It works in the browser of ``browser_hash`` alone. ``asked_in`` is the language of the request.

    Raises:
        SignInMethodOff: nobody signs in by mail here.
    """
    refuse_unless_on(MAIL_LINK, MAIL_CODE)
    template = "sign_in_link" if MAIL_LINK in get_settings().sign_in_methods else "sign_in_code"
    with transaction():
        outbox.queue(template, to=email, language=asked_in, browser_hash=browser_hash)


@retried
def request_reauthentication(*, user_id: uuid.UUID, email: str, session_id: uuid.UUID, asked_in: str) -> None:
    """Mail a signed-in user, at ``email``, a code that makes this session fresh again.

    Raises:
        SignInMethodOff: nobody signs in by mail here.
    """
    refuse_unless_on(MAIL_LINK, MAIL_CODE)
    with transaction():
        outbox.queue(
            "reauthentication_code",
            to=email,
            language=asked_in,
            user_id=str(user_id),
            session_hash=_hash_session(session_id),
        )


@retried
def sign_in_by_link(token: object, attempt: Attempt) -> SignIn:
    """Start a session for whoever opened the link in the browser that asked for it.

    Raises:
        InvalidToken: the link proves nothing, or not in this browser; where nobody signs in by links, none does.
    """
    if MAIL_LINK not in get_settings().sign_in_methods:
        raise InvalidToken
    with transaction():
        sign_in = _begin_session(use_token(token, SIGN_IN, browser_hash=attempt.browser_hash), attempt)
        if sign_in is None:
            raise InvalidToken
    return sign_in


@retried
def sign_in_by_code(*, email: str, code: str, attempt: Attempt) -> SignIn:
    """Start a session for whoever types the code in the browser that asked for it.

    Raises:
        SignInMethodOff: nobody signs in by a code here.
        InvalidCredentials: the code is wrong, whatever the reason; status, body and time are the same.
        TooManyGuesses: there were too many wrong codes in a row.
    """
    refuse_unless_on(MAIL_CODE)
    account_name = attempt.name_account(email)
    with transaction():
        used = use_code(SIGN_IN, email=email, code=code, browser_hash=attempt.browser_hash)
        guesses.refuse_further(db.session, guesses.name_codes(account_name))
        sign_in = None if used is None else _begin_session(used, attempt)
        if sign_in is None:
            _count_wrong_code(account_name)
            audit.record("session.refused", actor=attempt.client.as_actor())
    # The refusal is recorded first and raised after.
    if sign_in is None:
        raise InvalidCredentials(WRONG_CODE)
    return sign_in


@retried
def reauthenticate_by_code(*, code: str, email: str, session_id: uuid.UUID, actor: Actor, account_name: str) -> str:
    """Make the caller's session fresh again by a code that was mailed for it, and return its new token.

    Raises:
        SignInMethodOff: nobody signs in by mail here.
        InvalidCredentials: the code is wrong.
        TooManyGuesses: there were too many wrong codes in a row.
        SessionNotFound: the session has ended meanwhile.
    """
    refuse_unless_on(MAIL_LINK, MAIL_CODE)
    with transaction():
        used = use_code(REAUTHENTICATION, email=email, code=code, browser_hash=_hash_session(session_id))
        guesses.refuse_further(db.session, guesses.name_codes(account_name))
        token = None
        if used is not None and used.user_id == actor.user_id:
            token = renew_session(session_id, user_id=read_user(actor.user_id, is_locked=True).id)
            guesses.clear(account_name)
            guesses.clear(guesses.name_codes(account_name))
            audit.record("session.reauthenticated", actor=actor, target=actor.user_id)
        else:
            _count_wrong_code(account_name)
            audit.record("session.reauthentication_refused", actor=actor, target=actor.user_id)
    if token is None:
        raise InvalidCredentials(WRONG_CODE)
    return token


def prepare_sign_in(mail: QueuedMail) -> Prepared | None:
    """Make the link or the code, or both, that sign a user in."""
    methods = set(get_settings().sign_in_methods)
    user = _find_active(mail.recipient)
    if user is None or not methods & {MAIL_LINK, MAIL_CODE}:
        return None
    token, code = _add_proof(SIGN_IN, user, browser_hash=mail.context["browser_hash"])
    shown = {"expires_in": str(get_settings().mail_sign_in_lifetime)}
    if MAIL_LINK in methods:
        shown["link"] = make_link("sign-in", token)
    if MAIL_CODE in methods:
        shown["code"] = code
    template = f"sign_in_{'_and_'.join(name for name in ('link', 'code') if name in shown)}"
    return Prepared(shown, language=user.language, template=template)


def prepare_reauthentication(mail: QueuedMail) -> Prepared | None:
    """Make the code that makes a session fresh again; not where the address has become another's."""
    user = _find_active(mail.recipient)
    if user is None or str(user.id) != mail.context["user_id"]:
        return None
    _, code = _add_proof(REAUTHENTICATION, user, browser_hash=mail.context["session_hash"])
    shown = {"code": code, "expires_in": str(get_settings().mail_sign_in_lifetime)}
    return Prepared(shown, language=user.language)


def _find_active(email: str) -> User | None:
    return db.session.scalars(sa.select(User).where(User.email == email, User.is_active)).one_or_none()


def _add_proof(purpose: str, user: User, *, browser_hash: str | None) -> tuple[str, str]:
    """Add a token with a code, and return both; which of them counts is decided where they are used."""
    code = make_code()
    token = add_token(
        purpose,
        user_id=user.id,
        email=user.email,
        lifetime_seconds=get_settings().mail_sign_in_lifetime,
        browser_hash=browser_hash,
        code=code,
    )
    return token, code


def _begin_session(used: MailToken, attempt: Attempt) -> SignIn | None:
    """Begin a session of whose address the proof was mailed to; None where they may not sign in, or it has changed."""
    user = read_user(used.user_id, is_locked=True)
    if not user.is_active or user.email != used.email:
        return None
    # First: a link to set a password that is mailed now is not to be dead by this sign-in.
    user.last_login_at = now()
    verify_address(user, caller_id=attempt.caller_id)
    db.session.flush()
    guesses.forget(user.email)
    client = attempt.client
    sign_in = add_session(user.id, client, is_remembered=attempt.is_remembered, replaces=attempt.replaces)
    audit.record("session.started", actor=client.as_actor(user.id), target=user.id, by="mail")
    if attempt.name_account(user.email) == user.email:
        notices.queue_new_device(sign_in.user, client)
    return sign_in


def _count_wrong_code(account_name: str) -> None:
    """Count a wrong code among the wrong passwords too, as far as these are still answered.

    Codes are answered longer: a mailed one is the owner's way in when passwords are not.
    """
    guesses.count_failure(guesses.name_codes(account_name), is_first=False)
    with contextlib.suppress(TooManyGuesses):
        guesses.count_failure(account_name, is_first=False)


def _hash_session(session_id: uuid.UUID) -> str:
    return hashlib.sha256(session_id.bytes).hexdigest()
