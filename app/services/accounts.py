"""Accounts: what people do with their own. Addresses come in their canonical form."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import selectinload

from app.clock import now
from app.database import Query, refuse_duplicate
from app.extensions import db, get_settings, retried, transaction
from app.models import GuessCount, Role, User
from app.permissions import USER_ROLE
from app.security import Actor, Client, get_hasher, get_policy
from app.utils import AppError, Conflict, Forbidden, InvalidInput, Message, NotFound

from . import audit, guesses, notices
from .mail_tokens import is_reserved
from .sessions import SignIn, add_session
from .sign_in_methods import PASSWORD, refuse_unless_on

_WITH_ROLES: Final = sa.select(User).options(selectinload(User.roles).selectinload(Role.permission_rows))
_READ: Final[Sequence[Any]] = (User.id, User.password_hash, GuessCount.failures)
# One row, whether or not there is such a user or such a count.
_CREDENTIALS: Final[Query[Any]] = Query(
    sa.select(*_READ)
    .select_from(sa.select(sa.literal_column("1").label("one")).subquery("row"))
    .outerjoin(User, User.email == sa.bindparam("email", required=False))
    .outerjoin(GuessCount, GuessCount.account_hash == sa.bindparam("name_hash", required=False)),
    is_prepared=True,
)
# Of a user who may sign in and whose password is still the one that was verified.
_SIGN_IN: Final = (
    sa.update(User)
    .where(
        User.id == sa.bindparam("user_id"),
        User.is_active,
        User.password_hash == sa.bindparam("verified_hash"),
        guesses.IS_ANSWERED,
    )
    .values(
        password_hash=sa.bindparam("new_hash"),
        last_login_at=sa.bindparam("instant"),
        updated_at=sa.bindparam("instant"),
    )
)


_PROFILE_ACTIONS: Final = {"name": "user.renamed", "language": "user.language_changed"}


class EmailTaken(Conflict):
    """There is an account with this e-mail address."""

    title = "Address taken"
    detail = "There is an account with this address. Sign in, or reset its password."


class RegistrationClosed(Forbidden):
    """Nobody can register by themselves."""

    detail = "Registration is closed here. Ask an administrator for an account."


class InvitationRequired(Forbidden):
    """Only whoever was invited can register."""

    detail = "Registering here takes an invitation. Ask an administrator for one."


class DomainRefused(Forbidden):
    """Addresses of this domain may not register."""

    detail = "Accounts here cannot have addresses of this domain. Use another, or ask an administrator."


class InvalidCredentials(AppError):
    """Address and password do not belong together; one answer for every cause."""

    status = 401
    detail = "Address or password is wrong."


class UserNotFound(NotFound):
    """There is no such user."""

    detail = "There is no user with this id."


@retried
def register(
    *,
    email: str,
    password: str | None,
    name: str,
    client: Client,
    language: str | None = None,
    replaces: str | None = None,
) -> SignIn:
    """Make an account for whoever asks, and sign them in.

    ``replaces`` is the token of a session that the new one takes the place of.

    Raises:
        RegistrationClosed: nobody can register by themselves.
        InvitationRequired: only whoever was invited can.
        DomainRefused: addresses of this domain may not.
        WeakPassword: with the reason.
        EmailTaken: somebody has this e-mail address, or had it and may still take it back.
    """
    refuse_registration(email)
    password_hash = hash_first_password(password, about=(email, name))
    with refuse_duplicate(User.email, EmailTaken), transaction():
        user = add_user(email=email, name=name, password_hash=password_hash)
        user.language = language
        user.last_login_at = now()
        db.session.flush()
        # Whoever took an account to another address must not keep its owner from the former one.
        if is_reserved(email):
            raise EmailTaken
        sign_in = add_session(user.id, client, is_remembered=False, replaces=replaces)
        audit.record("user.registered", actor=client.as_actor(user.id), target=user.id)
    return sign_in


@retried
def authenticate(
    *,
    email: str,
    password: str,
    is_remembered: bool,
    client: Client,
    replaces: str | None = None,
    account_name: str | None = None,
) -> SignIn:
    """Start a session for whoever knows the password.

    With ``is_remembered`` it outlives the browser; ``replaces`` is the token of a session that it takes the place of.
    ``account_name`` is what ``security.choose_account_name`` returns; without it the guess is an unknown browser's.
    Of a sign-in from one the user is told by mail.

    Raises:
        SignInMethodOff: nobody signs in by a password here.
        InvalidCredentials: unknown e-mail, wrong password or inactive account: status, body and time are the same.
        TooManyGuesses: there were too many wrong ones in a row.
    """
    refuse_unless_on(PASSWORD)
    account_name = account_name or email
    (found,) = db.fetch(_CREDENTIALS, {"email": email, "name_hash": guesses.hash_name(account_name)})
    guesses.refuse_beyond_max(found.failures)
    # Hashing happens outside the transaction: on SQLite nobody else could write meanwhile.
    is_right = get_hasher().verify(found.password_hash, password)
    new_hash = get_hasher().renew(found.password_hash, password) if is_right else None
    with transaction():
        if is_right and _note_sign_in(found, new_hash, account_name):
            if found.failures:
                guesses.clear(account_name)
            sign_in = add_session(found.id, client, is_remembered=is_remembered, replaces=replaces)
            audit.record("session.started", actor=client.as_actor(found.id), target=found.id)
            if account_name == email:
                notices.queue_new_device(sign_in.user, client)
        else:
            sign_in = None
            guesses.count_failure(account_name, is_first=found.failures is None)
            audit.record("session.refused", actor=client.as_actor(), target=found.id)
    # The refusal is recorded first and raised after.
    if sign_in is None:
        raise InvalidCredentials
    return sign_in


@retried
def update_profile(user_id: uuid.UUID, *, changes: Mapping[str, str | None], actor: Actor) -> User:
    """Change what people may change about themselves, any of ``name`` and ``language``, and return the user.

    Raises:
        UserNotFound: there is none.
    """
    with transaction():
        user = read_user(user_id, is_locked=True)
        changed = [field for field, value in changes.items() if getattr(user, field) != value]
        for field in changed:
            setattr(user, field, changes[field])
            audit.record(_PROFILE_ACTIONS[field], actor=actor, target=user.id)
    return user


@retried
def get_user(user_id: uuid.UUID) -> User:
    """Return a user with roles and permissions.

    Raises:
        UserNotFound: there is none.
    """
    # No connection stays held while extensions are asked about the user.
    with db.reading() as reading:
        user = reading.scalars(_WITH_ROLES.where(User.id == user_id)).one_or_none()
    if user is None:
        raise UserNotFound
    return user


@retried
def get_user_by_email(email: str) -> User:
    """Return the user with this e-mail address, with roles and permissions.

    Raises:
        UserNotFound: there is none.
    """
    user = db.session.scalars(_WITH_ROLES.where(User.email == email)).one_or_none()
    if user is None:
        raise UserNotFound("There is no user with this address.")
    return user


# --- for the other services, inside a transaction of theirs ---


def refuse_registration(email: str) -> None:
    """Refuse whoever asks for an account with this address, before anything is looked up.

    Raises:
        RegistrationClosed: nobody can register by themselves.
        InvitationRequired: only whoever was invited can.
        DomainRefused: addresses of this domain may not.
    """
    settings = get_settings()
    if settings.registration != "open":
        raise InvitationRequired if settings.registration == "invite" else RegistrationClosed
    refuse_domain(email)


def refuse_domain(email: str) -> None:
    """Refuse an address of a domain whose addresses accounts here do not have.

    Raises:
        DomainRefused: it is none of ``REGISTRATION_DOMAINS``.
    """
    domains = get_settings().registration_domains
    if domains and email.rpartition("@")[2] not in domains:
        raise DomainRefused


def read_user(user_id: uuid.UUID | None, *, is_locked: bool = False) -> User:
    """Return a user with roles and permissions; locked against other writers until the transaction ends.

    Raises:
        UserNotFound: there is none.
    """
    query = _WITH_ROLES.where(User.id == user_id)
    if is_locked:
        query = query.with_for_update(of=User).execution_options(populate_existing=True)
    user = db.session.scalars(query).one_or_none()
    if user is None:
        raise UserNotFound
    return user


def add_user(*, email: str, name: str, password_hash: str | None) -> User:
    """Add a user with the role that everybody gets to the current transaction."""
    roles = db.session.scalars(
        sa.select(Role).where(Role.name == USER_ROLE).options(selectinload(Role.permission_rows))
    ).all()
    user = User(email=email, name=name, password_hash=password_hash, roles=list(roles))
    db.session.add(user)
    db.session.flush()
    return user


def hash_new_password(password: str, *, about: Sequence[str], field: str) -> str:
    """Return the hash of a password that somebody chose.

    Raises:
        WeakPassword: with the reason under ``field``.
    """
    get_policy().check(password, about=about, field=field)
    return get_hasher().hash(password)


def hash_first_password(password: str | None, *, about: Sequence[str]) -> str | None:
    """Return the hash of the password that somebody registers with; none where nobody signs in by a password.

    Raises:
        WeakPassword: with the reason.
        InvalidInput: it is missing, or given where there are none.
    """
    is_used = PASSWORD in get_settings().sign_in_methods
    if password is None and is_used:
        raise InvalidInput(errors={"password": [Message("Missing data for required field.", "required")]})
    if password is None:
        return None
    if not is_used:
        message = Message("There are no passwords here: one signs in by mail. Leave it out.", "password_unused")
        raise InvalidInput(errors={"password": [message]})
    return hash_new_password(password, about=about, field="password")


def _note_sign_in(verified: sa.Row[Any], new_hash: str | None, account_name: str) -> bool:
    """Note, and lock, that a user signs in; not if they changed or went since ``verified`` was read."""
    signing_in = {
        "user_id": verified.id,
        "verified_hash": verified.password_hash,
        "new_hash": new_hash or verified.password_hash,
        "instant": now(),
        **guesses.bind(account_name),
    }
    return db.session.connection().execute(_SIGN_IN, signing_in).rowcount == 1
