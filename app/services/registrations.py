"""Accounts that begin once their address is verified: before that there is nothing that a stranger could have taken."""

import datetime
import uuid

import sqlalchemy as sa

from app.clock import now
from app.database import refuse_duplicate
from app.extensions import db, get_settings, retried, transaction
from app.models import MailToken, Registration, User
from app.security import Client, hash_token, make_token

from . import audit, outbox
from .accounts import add_user, hash_first_password, read_user, refuse_registration
from .email_changes import CHANGE, complete_email_change
from .mail_tokens import InvalidToken, add_token, hash_sent_token, revoke_tokens, use_token
from .outbox import Prepared, QueuedMail, make_link
from .recovery import queue_reset
from .sessions import delete_sessions


@retried
def request_registration(
    *,
    email: str,
    password: str | None,
    name: str,
    language: str | None,
    browser_hash: str,
    asked_in: str,
    client: Client,
) -> None:
    """Take a registration, and mail its address what begins the account; nobody learns whether there is one.

    ``language`` is what the account is to have, ``asked_in`` that of the request, which came from the browser of
    ``browser_hash``. An account that there is is told instead that somebody tried.

    Raises:
        RegistrationClosed: nobody can register by themselves.
        InvitationRequired: only whoever was invited can.
        DomainRefused: addresses of this domain may not.
        WeakPassword: with the reason.
    """
    refuse_registration(email)
    password_hash = hash_first_password(password, about=(email, name))
    with transaction():
        outbox.queue(
            "verify_registration",
            to=email,
            language=language or asked_in,
            name=name,
            password_hash=password_hash,
            stored_language=language,
            browser_hash=browser_hash,
        )
        audit.record("user.registration_requested", actor=client.as_actor())


@retried
def request_verification(*, email: str, asked_in: str) -> None:
    """Mail an address once more what verifies it, if it waits for that; nobody learns whether it does."""
    with transaction():
        outbox.queue("verify_email", to=email, language=asked_in)


@retried
def verify(
    token: object,
    *,
    caller_id: uuid.UUID | None,
    client: Client,
    session_id: uuid.UUID | None = None,
    browser_hash: str | None = None,
) -> str:
    """Do what a link proves that was mailed to an address, and return that: begin, verify or change an account.

    ``caller_id`` and ``session_id`` are who is signed in, ``browser_hash`` is that of the browser, if it registered.
    Whoever set up an account whose address they do not read loses it: unless the account's own session uses the link,
    its password and its sessions end, and a link to set a password is mailed. Of several registrations that were made
    for the address, the browser that uses the link has to have made the one that is to count.

    Raises:
        InvalidToken: it proves nothing, or the address has an account meanwhile.
    """
    with refuse_duplicate(User.email, InvalidToken), transaction():
        registration = _take_registration(token)
        if registration is not None:
            return _begin_account(registration, browser_hash, client)
        used = use_token(token, "verify_email", CHANGE)
        if used.purpose == CHANGE:
            return complete_email_change(used, session_id=session_id, client=client)
        return _verify_account(used, caller_id=caller_id, client=client)


def prepare_verify_registration(mail: QueuedMail) -> Prepared | None:
    """Store a registration whose mail is about to be sent, or have the owner of the address told of it."""
    user = _find_user(mail.recipient)
    if user is not None:
        told = Prepared({"link": make_link("reset")}, language=user.language, template="already_registered")
        return told if user.is_active else None
    return _renew_registration(
        mail,
        name=mail.context["name"] or "",
        language=mail.context["stored_language"],
        password_hash=mail.context["password_hash"],
        browser_hash=mail.context.get("browser_hash"),
    )


def prepare_verify_email(mail: QueuedMail) -> Prepared | None:
    """Make the link that verifies an address, of an account or a registration that waits for it."""
    user = _find_user(mail.recipient)
    if user is None:
        waiting = db.session.scalars(sa.select(Registration).where(Registration.email == mail.recipient)).one_or_none()
        if waiting is None or waiting.expires_at <= now():
            return None
        return _renew_registration(
            mail,
            name=waiting.name,
            language=waiting.language,
            password_hash=waiting.password_hash,
            browser_hash=waiting.browser_hash,
        )
    if not user.is_active or user.email_verified_at is not None:
        return None
    lifetime = get_settings().verification_lifetime
    token = add_token("verify_email", user_id=user.id, email=user.email, lifetime_seconds=lifetime)
    return Prepared({"link": make_link("verify", token), "expires_in": str(lifetime)}, language=user.language)


# --- for the other services, inside a transaction of theirs ---


def dispute_registration(email: str, browser_hash: str | None) -> None:
    """Note of the registration that waits for an address that ``browser_hash`` made one too, which is not mailed."""
    waiting = sa.update(Registration).where(Registration.email == email)
    is_another = sa.or_(Registration.browser_hash.is_(None), Registration.browser_hash != browser_hash)
    db.session.connection().execute(waiting.where(is_another).values(is_disputed=True))


def verify_address(user: User, *, caller_id: uuid.UUID | None) -> None:
    """Note that whoever is about to be told so reads the mails to a user's address; the user is locked.

    Where that is new, and it is not the user's own session, ``caller_id``, that proves it, somebody else may have set
    the account up: its password and its sessions end, and a link to set a password is mailed.
    """
    is_first = user.email_verified_at is None
    user.email_verified_at = user.email_verified_at or now()
    if is_first and caller_id != user.id:
        user.password_hash = None
        delete_sessions(user.id)
        revoke_tokens(user.id)
        queue_reset(user)


def _find_user(email: str) -> User | None:
    return db.session.scalars(sa.select(User).where(User.email == email)).one_or_none()


def _renew_registration(
    mail: QueuedMail, *, name: str, language: str | None, password_hash: str | None, browser_hash: str | None
) -> Prepared | None:
    """Store a registration with a new token in the place of the former; not if a newer one was stored already."""
    connection = db.session.connection()
    of_address = Registration.email == mail.recipient
    columns = Registration.__table__.columns
    former = connection.execute(sa.select(*columns).where(of_address, Registration.expires_at > now())).one_or_none()
    is_disputed = former is not None and (former.is_disputed or former.browser_hash != browser_hash)
    if former is not None and former.created_at > mail.created_at:
        dispute_registration(mail.recipient, browser_hash)
        return None
    lifetime = get_settings().verification_lifetime
    token = make_token()
    connection.execute(sa.delete(Registration).where(of_address))
    row = {
        "email": mail.recipient,
        "name": name,
        "language": language,
        "password_hash": password_hash,
        "browser_hash": browser_hash,
        "is_disputed": is_disputed,
        "token_hash": hash_token(token),
        "created_at": mail.created_at,
        "expires_at": mail.created_at + datetime.timedelta(seconds=lifetime),
    }
    connection.execute(sa.insert(Registration), row)
    context = {"link": make_link("verify", token), "expires_in": str(lifetime)}
    return Prepared(context, language=language, template="verify_registration")


def _take_registration(token: object) -> sa.Row[tuple[Registration]] | None:
    """Delete the registration that has ``token`` and return what it was, or None; of many at once one gets it."""
    connection = db.session.connection()
    columns = Registration.__table__.columns
    found = connection.execute(sa.select(*columns).where(columns.token_hash == hash_sent_token(token))).one_or_none()
    if found is None:
        return None
    used = connection.execute(sa.delete(Registration).where(Registration.id == found.id)).rowcount
    if not used or found.expires_at <= now():
        raise InvalidToken
    return found


def _begin_account(registration: sa.Row[tuple[Registration]], browser_hash: str | None, client: Client) -> str:
    """Add the account; where the registration is disputed and another browser made it, with the address alone."""
    user = add_user(email=registration.email, name="", password_hash=None)
    user.email_verified_at = now()
    if not registration.is_disputed or browser_hash == registration.browser_hash:
        user.name, user.language = registration.name, registration.language
        user.password_hash = registration.password_hash
    db.session.flush()
    if user.password_hash is None:
        queue_reset(user)
    audit.record("user.registered", actor=client.as_actor(user.id), target=user.id)
    return user.email


def _verify_account(used: MailToken, *, caller_id: uuid.UUID | None, client: Client) -> str:
    user = read_user(used.user_id, is_locked=True)
    if user.email != used.email or not user.is_active:
        raise InvalidToken
    verify_address(user, caller_id=caller_id)
    audit.record("email.verified", actor=client.as_actor(user.id), target=user.id)
    return user.email
