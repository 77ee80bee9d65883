"""User administration: what those do who may see and change the accounts of others."""

import datetime
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import sqlalchemy as sa

from app.database import refuse_duplicate
from app.extensions import db, limiter, retried, transaction
from app.models import Role, User, user_roles
from app.permissions import ADMIN_ROLE
from app.security import Actor, get_policy, list_account_keys
from app.utils import Forbidden

from . import audit, guesses, notices
from .accounts import EmailTaken, add_user, hash_new_password, read_user
from .admins import lock_admins, refuse_last_admin
from .cursors import Sort
from .mail_tokens import revoke_tokens
from .pages import Listing, Page
from .roles import read_role, refuse_ungrantable
from .sessions import ACCOUNT_COLUMNS, delete_sessions
from .sign_in_methods import PASSWORD, refuse_unless_on
from .user_data import delete_with_data, refuse_use

SORTS: Final = Sort.make_all(User.created_at, User.email, User.name, key=User.id)


class ListedUser(NamedTuple):
    """A user in a list, with the hash where that was asked for; to change one, load the ``User``."""

    id: uuid.UUID
    email: str
    name: str
    language: str | None
    is_password_change_required: bool
    is_active: bool
    email_verified_at: datetime.datetime | None
    deletion_due_at: datetime.datetime | None
    created_at: datetime.datetime
    updated_at: datetime.datetime
    last_login_at: datetime.datetime | None
    role_names: list[str]
    password_hash: str | None

    @property
    def is_mfa_enabled(self) -> bool:
        """As ``User`` has it."""
        return False

    def __repr__(self) -> str:
        return f"<ListedUser {self.id}>"  # not its hash


class _Names(sa.types.TypeDecorator[list[str]]):
    """Names that a query joined with commas, sorted."""

    impl = sa.String
    cache_ok = True

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> list[str]:
        """Return the names."""
        del dialect
        return sorted(value.split(",")) if value else []


_ROLE_NAMES: Final = (
    sa.select(sa.type_coerce(sa.func.aggregate_strings(Role.name, ","), _Names))
    .join(user_roles, user_roles.c.role_id == Role.id)
    .where(user_roles.c.user_id == User.id)
    .scalar_subquery()
)
_USERS, _USERS_WITH_HASHES = (
    Listing(
        sa.select(*ACCOUNT_COLUMNS, _ROLE_NAMES.label("role_names"), password_hash),
        row=ListedUser,
        filters={
            "role": lambda name: User.roles.any(Role.name == name),
            "is_active": lambda is_active: User.is_active == is_active,
        },
        searched=User.search_text,
        has_search_index=True,
    )
    for password_hash in (sa.null(), User.password_hash)
)


EXPORT_PAGE: Final = 500


class TargetOutranksActor(Forbidden):
    """The target holds permissions that the actor lacks."""

    title = "Target outranks you"
    detail = "This user holds permissions that you lack. Ask somebody who holds them too."


@retried
def list_users(
    *,
    limit: int,
    sort: str = "created_at",
    cursor: str | None = None,
    q: str | None = None,
    role: str | None = None,
    is_active: bool | None = None,
    with_hashes: bool = False,
) -> Page[ListedUser]:
    """Return a page of the users whose name or e-mail has a word that begins with each word of ``q``, sorted.

    Raises:
        InvalidCursor: the cursor is not one of this list in this order.
    """
    listing = _USERS_WITH_HASHES if with_hashes else _USERS
    return listing.get_page(SORTS[sort], limit=limit, cursor=cursor, search=q, role=role, is_active=is_active)


def walk_users(*, actor: Actor, with_hashes: bool) -> Iterator[Sequence[ListedUser]]:
    """Yield every user, page by page, the oldest first. That somebody took them goes into the audit trail first."""
    with transaction():
        audit.record("users.exported", actor=actor, with_hashes=with_hashes)
    cursor: str | None = None
    while True:
        page = list_users(limit=EXPORT_PAGE, cursor=cursor, with_hashes=with_hashes)
        yield page.items
        cursor = page.next_cursor
        if cursor is None:
            return


@retried
def count_users() -> int:
    """Return how many users there are."""
    return db.session.scalar(sa.select(sa.func.count()).select_from(User)) or 0


@retried
def create_user(*, email: str, name: str, password: str | None, roles: Iterable[str] = (), actor: Actor) -> User:
    """Make an account for somebody else; without a password nobody can sign in to it yet.

    ``email`` comes in its canonical form; ``roles`` are names beyond the role that everybody gets.

    Raises:
        WeakPassword: with the reason.
        EmailTaken: somebody has this e-mail address.
        RoleNotFound: there is no such role.
        UngrantablePermission: a role holds what the actor does not.
    """
    password_hash = hash_new_password(password, about=(email, name), field="password") if password else None
    with refuse_duplicate(User.email, EmailTaken), transaction():
        user = add_user(email=email, name=name, password_hash=password_hash)
        audit.record("user.created", actor=actor, target=user.id)
        for role in roles:
            _add_role(user, role, actor)
    return user


@retried
def update_user(user_id: uuid.UUID, *, changes: Mapping[str, object], actor: Actor) -> User:
    """Change a user's name, whether the account is active, or whether its password has to be changed.

    ``changes`` holds any of ``name`` (str), ``is_active`` and ``is_password_change_required`` (bool). Deactivating ends
    the user's sessions and mailed links. Requiring another password ends the sessions; the next one does nothing else
    before the password is changed.

    Raises:
        UserNotFound: there is none.
        TargetOutranksActor: the user may do what the actor may not.
        LastAdmin: nobody could administer afterwards.
        SignInMethodOff: a new password is required, and nobody signs in by one here.
    """
    if changes.get("is_password_change_required"):
        refuse_unless_on(PASSWORD)
    with transaction():
        lock_admins()
        user = get_target(user_id, actor)
        if changes.get("is_active") is False:
            refuse_last_admin(user)
            revoke_tokens(user.id)
        if changes.get("is_active") is False or changes.get("is_password_change_required"):
            delete_sessions(user.id)
        changed = [field for field, value in changes.items() if getattr(user, field) != value]
        for field in changed:
            setattr(user, field, changes[field])
        if changed:
            audit.record("user.updated", actor=actor, target=user.id, fields=sorted(changed))
    return user


@retried
def delete_user(user_id: uuid.UUID, *, actor: Actor) -> None:
    """Delete a user with sessions and role assignments; the audit trail stays.

    Raises:
        UserNotFound: there is none.
        TargetOutranksActor: the user may do what the actor may not.
        LastAdmin: nobody could administer afterwards.
        UserInUse: something that others store refers to the user.
    """
    with refuse_use(user_id), transaction():
        lock_admins()
        user = get_target(user_id, actor)
        refuse_last_admin(user)
        delete_with_data(user)
        audit.record("user.deleted", actor=actor, target=user.id)


@retried
def end_sessions(user_id: uuid.UUID, *, actor: Actor) -> None:
    """End every session of a user.

    Raises:
        UserNotFound: there is none.
        TargetOutranksActor: the user may do what the actor may not.
    """
    with transaction():
        user = get_target(user_id, actor)
        delete_sessions(user.id)
        audit.record("session.all_ended", actor=actor, target=user.id)


@retried
def unlock(user_id: uuid.UUID, *, actor: Actor) -> None:
    """Clear what throttles signing in to an account.

    Raises:
        UserNotFound: there is none.
        TargetOutranksActor: the user may do what the actor may not.
        RateLimitStoreAway: nothing was cleared.
    """
    with transaction():
        user = get_target(user_id, actor)
        guesses.forget(user.email)
        audit.record("user.unlocked", actor=actor, target=user.id)
        # Before the commit: while the limiter's store is away, nothing is cleared.
        limiter.inspector.clear(*list_account_keys(user.email))


@retried
def assign_role(user_id: uuid.UUID, name: str, *, actor: Actor) -> User:
    """Give a role to a user; having it already is fine.

    Raises:
        UserNotFound: there is no such user.
        RoleNotFound: there is no such role.
        UngrantablePermission: the role holds what the actor does not.
    """
    with transaction():
        user = read_user(user_id, is_locked=True)
        _add_role(user, name, actor)
    return user


@retried
def revoke_role(user_id: uuid.UUID, name: str, *, actor: Actor) -> User:
    """Take a role from a user; not having it is fine.

    Raises:
        UserNotFound: there is no such user.
        RoleNotFound: there is no such role.
        TargetOutranksActor: the user may do what the actor may not.
        LastAdmin: nobody could administer afterwards.
    """
    with transaction():
        lock_admins()
        user = get_target(user_id, actor)
        role = read_role(name, is_kept=True)
        if role in user.roles:
            if role.name == ADMIN_ROLE:
                refuse_last_admin(user)
            user.roles.remove(role)
            audit.record("role.revoked", actor=actor, target=user.id, role=name)
    return user


@retried
def reset_password(user_id: uuid.UUID, *, password: str | None, actor: Actor) -> str:
    """Replace a user's password and return it; without one given it is made up. The user is told by mail.

    Every session and mailed link of the user ends.

    Raises:
        UserNotFound: there is none.
        TargetOutranksActor: the user may do what the actor may not.
        WeakPassword: with the reason.
    """
    user = read_user(user_id)
    new = get_policy().invent() if password is None else password
    password_hash = hash_new_password(new, about=(user.email, user.name), field="password")
    with transaction():
        user = get_target(user_id, actor)
        user.password_hash = password_hash
        delete_sessions(user.id)
        revoke_tokens(user.id)
        notices.queue_password_changed(user)
        audit.record("password.reset", actor=actor, target=user.id)
    return new


def _add_role(user: User, name: str, actor: Actor) -> None:
    """Give a role to a user in the current transaction."""
    role = read_role(name, is_kept=True)
    refuse_ungrantable(role.permissions, actor)
    if role not in user.roles:
        user.roles.append(role)
        audit.record("role.assigned", actor=actor, target=user.id, role=name)


# --- for the other services ---


def get_target(user_id: uuid.UUID, actor: Actor) -> User:
    """Return the user, locked.

    Raises:
        UserNotFound: there is none.
        TargetOutranksActor: the user may do what the actor may not, so acting on them would be a way up.
    """
    user = read_user(user_id, is_locked=True)
    if not user.permissions <= actor.permissions:
        raise TargetOutranksActor
    return user
