"""Sessions: rows that can be listed and ended one by one."""

import dataclasses
import datetime
import functools
import uuid
from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from app.clock import now
from app.database import Lookup
from app.extensions import db, get_permissions, get_settings, retried, transaction
from app.models import USER_AGENT_MAX_LENGTH, Role, RolePermission, Session, User, user_roles
from app.permissions import find_allowed
from app.security import Actor, Client, Principal, SignedInSession, SignedInUser, hash_token, make_token
from app.utils import NotFound

from . import audit

# Of one user; the oldest end where another one begins.
SESSIONS_MAX: Final = 100
SURPLUS_AT_ONCE: Final = 500
# last_seen_at is written at most so often: the path of every request reads, and seldom writes.
SEEN_SECONDS: Final = 60

_PERMISSION: Final = sa.func.coalesce(RolePermission.permission, sa.literal_column("''"))
# "role permission" for each permission of each role of the user; a role without any comes as "role ".
_GRANTS: Final = (
    sa.select(
        sa.func.aggregate_strings(Role.name + sa.literal_column("' '") + _PERMISSION, ","),
    )
    .select_from(user_roles)
    .join(Role, Role.id == user_roles.c.role_id)
    .outerjoin(RolePermission, RolePermission.role_id == Role.id)
    .where(user_roles.c.user_id == User.id)
    .scalar_subquery()
)
ACCOUNT_COLUMNS: Final[Sequence[sa.orm.InstrumentedAttribute[Any]]] = (
    User.id,
    User.email,
    User.name,
    User.language,
    User.is_password_change_required,
    User.is_active,
    User.email_verified_at,
    User.deletion_due_at,
    User.created_at,
    User.updated_at,
    User.last_login_at,
)
"""What ``SignedInUser`` and ``ListedUser`` begin with, in their order."""

# What ``SignedInUser`` is made of: no model, one row.
_USER: Final[Sequence[Any]] = (*ACCOUNT_COLUMNS, _GRANTS.label("grants"))
# Every signed-in request asks it: one row, no model.
_BY_TOKEN: Final = Lookup(
    sa.select(
        Session.id.label("session_id"),
        Session.authenticated_at,
        Session.is_remembered,
        Session.last_seen_at,
        Session.expires_at,
        *_USER,
    ).join(User, User.id == Session.user_id),
    by=Session.token_hash,
)
_OF_USER: Final = Session.user_id == User.id
# Whoever signs in, with what tells whether sessions of theirs have to go.
_BY_ID: Final[sa.Select[Any]] = sa.select(
    *_USER,
    sa.select(sa.func.count()).where(_OF_USER).scalar_subquery().label("sessions_count"),
    sa.select(sa.func.min(Session.expires_at)).where(_OF_USER).scalar_subquery().label("first_expires_at"),
).where(User.id == sa.bindparam("user_id"))


@dataclasses.dataclass(frozen=True, slots=True)
class SignIn:
    """A new session: whose, and the token that its cookie carries, which is stored nowhere."""

    user: SignedInUser
    token: str


class SessionNotFound(NotFound):
    """There is no such session."""

    detail = "There is no such session; it may have ended already."


@retried
def find_principal(token: str) -> Principal | None:
    """Return who the session with ``token`` belongs to, or None when it has ended or its user may not sign in.

    It costs one query: the session, its user, roles and permissions come together.
    """
    row = db.find(_BY_TOKEN, hash_token(token))
    instant = now()
    if row is None or not row.is_active or instant >= row.expires_at:
        return None
    idle_seconds, idle_timeout = (instant - row.last_seen_at).total_seconds(), get_settings().session_idle_timeout
    # A remembered session is meant to outlast idle days.
    if idle_seconds >= idle_timeout and not row.is_remembered:
        return None
    if idle_seconds > idle_timeout / 2:
        _touch(row.session_id)
    elif idle_seconds > SEEN_SECONDS:
        # The next request can note it as well.
        db.do_if_idle(functools.partial(_touch, row.session_id))
    return Principal(SignedInSession(row.session_id, row.authenticated_at), _read_user(row))


def _read_user(row: sa.Row[Any]) -> SignedInUser:
    """Return the user of a row of ``_USER``."""
    role_names, permissions = _read_grants(row.grants, get_permissions())
    return SignedInUser(
        id=row.id,
        email=row.email,
        name=row.name,
        language=row.language,
        is_password_change_required=row.is_password_change_required,
        is_active=row.is_active,
        email_verified_at=row.email_verified_at,
        deletion_due_at=row.deletion_due_at,
        created_at=row.created_at,
        updated_at=row.updated_at,
        last_login_at=row.last_login_at,
        role_names=role_names,
        permissions=permissions,
    )


@functools.lru_cache(maxsize=1024)
def _read_grants(grants: str | None, declared: frozenset[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Return the names of the roles in ``grants``, sorted, and what of all that is ``declared`` they allow together."""
    granted: dict[str, list[str]] = {}
    for grant in grants.split(",") if grants else ():
        role, _, permission = grant.partition(" ")
        granted.setdefault(role, []).append(permission)
    allowed = (find_allowed(role, permissions, declared) for role, permissions in granted.items())
    return tuple(sorted(granted)), frozenset[str]().union(*allowed)


@retried
def list_sessions(user_id: uuid.UUID) -> Sequence[Session]:
    """Return the user's sessions that are alive, the newest first: ``SESSIONS_MAX`` of them, there are no more."""
    instant = now()
    idle = instant - datetime.timedelta(seconds=get_settings().session_idle_timeout)
    is_alive = sa.and_(Session.expires_at > instant, sa.or_(Session.is_remembered, Session.last_seen_at > idle))
    query = sa.select(Session).where(Session.user_id == user_id, is_alive)
    newest_first = query.order_by(Session.created_at.desc(), Session.id.desc())
    return db.session.scalars(newest_first.limit(SESSIONS_MAX)).all()


@retried
def end_session(session_id: uuid.UUID, *, user_id: uuid.UUID, actor: Actor) -> None:
    """End one session of a user; its cookie is worth nothing from the next request on.

    Raises:
        SessionNotFound: the user has no such session.
    """
    with transaction():
        ended = _delete(Session.id == session_id, Session.user_id == user_id)
        if not ended:
            raise SessionNotFound
        audit.record("session.ended", actor=actor, target=user_id)


@retried
def end_all_sessions(user_id: uuid.UUID, *, actor: Actor, but: uuid.UUID | None = None) -> None:
    """End every session of a user, but the one named ``but``."""
    with transaction():
        delete_sessions(user_id, but=but)
        audit.record("session.all_ended", actor=actor, target=user_id)


@retried
def sign_out(session_id: uuid.UUID, *, actor: Actor) -> None:
    """End the caller's own session. Ending it twice is no fault."""
    with transaction():
        if _delete(Session.id == session_id):
            audit.record("session.signed_out", actor=actor, target=actor.user_id)


def add_session(user_id: uuid.UUID, client: Client, *, is_remembered: bool, replaces: str | None = None) -> SignIn:
    """Add a session of a user, whose row is locked or new, to the current transaction.

    The user's sessions that have run out go at the same time, the oldest beyond ``SESSIONS_MAX``, and the one whose
    token is ``replaces``: the browser forgets it, so that only somebody who copied it could still use it.
    """
    connection = db.session.connection()
    settings = get_settings()
    instant = now()
    lifetime = settings.remember_lifetime if is_remembered else settings.session_lifetime
    token = make_token()
    if replaces is not None:
        _delete(Session.token_hash == hash_token(replaces))
    found = connection.execute(_BY_ID, {"user_id": user_id}).one()
    if found.first_expires_at is not None and found.first_expires_at < instant:
        _delete(Session.user_id == user_id, Session.expires_at < instant)
    if found.sessions_count >= SESSIONS_MAX:
        _end_oldest(user_id)
    session = {
        "user_id": user_id,
        "token_hash": hash_token(token),
        "ip": client.ip,
        "user_agent": client.user_agent[:USER_AGENT_MAX_LENGTH],
        "is_remembered": is_remembered,
        "created_at": instant,
        "last_seen_at": instant,
        "authenticated_at": instant,
        "expires_at": instant + datetime.timedelta(seconds=lifetime),
    }
    connection.execute(sa.insert(Session), session)
    return SignIn(_read_user(found), token)


def _end_oldest(user_id: uuid.UUID) -> None:
    """Delete a user's oldest sessions, so that there is room for one more."""
    newest_first = sa.select(Session.id).where(Session.user_id == user_id).order_by(Session.created_at.desc())
    surplus = newest_first.offset(SESSIONS_MAX - 1).limit(SURPLUS_AT_ONCE)
    ended = db.session.connection().execute(surplus).scalars().all()
    if ended:
        _delete(Session.id.in_(ended))


def renew_session(session_id: uuid.UUID, *, user_id: uuid.UUID) -> str:
    """Give a session another token in the current transaction, note that the password was given, return the token.

    A copy of the cookie from before is worth nothing from then on.

    Raises:
        SessionNotFound: the session has ended meanwhile.
    """
    token = make_token()
    result = db.session.execute(
        sa.update(Session)
        .where(Session.id == session_id, Session.user_id == user_id)
        .values(token_hash=hash_token(token), authenticated_at=now())
        .execution_options(synchronize_session=False)
    )
    if not result.rowcount:  # type: ignore[attr-defined] # an UPDATE's result is a CursorResult
        raise SessionNotFound
    return token


def delete_sessions(user_id: uuid.UUID, *, but: uuid.UUID | None = None) -> None:
    """Delete a user's sessions in the current transaction, but the one named ``but``."""
    conditions = [Session.user_id == user_id]
    if but is not None:
        conditions.append(Session.id != but)
    _delete(*conditions)


def _delete(*conditions: sa.ColumnElement[bool]) -> int:
    return db.session.connection().execute(sa.delete(Session).where(*conditions)).rowcount


def _touch(session_id: uuid.UUID) -> None:
    """Note that the session was seen. Of many requests at once one writes."""
    stale = now() - datetime.timedelta(seconds=SEEN_SECONDS)
    with transaction() as writing:
        writing.execute(
            sa.update(Session)
            .where(Session.id == session_id, Session.last_seen_at < stale)
            .values(last_seen_at=now())
            .execution_options(synchronize_session=False)
        )
