"""Bringing in the users of another system: all of a file or nothing."""

import dataclasses
import datetime
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, selectinload
from uuid_utils.compat import uuid7

from app.clock import now
from app.database import ReferenceRefused
from app.extensions import db, retried, transaction
from app.models import AuditEntry, Role, User, user_roles
from app.permissions import USER_ROLE
from app.security import Actor
from app.utils import InvalidInput

Item = TypeVar("Item")

# Few enough for SQLite's limit of variables in a statement, many enough that round trips do not count.
CHUNK: Final = 500
_AS_GIVEN: Final = (
    "email",
    "name",
    "language",
    "password_hash",
    "is_password_change_required",
    "is_active",
    "email_verified_at",
    "deletion_due_at",
    "last_login_at",
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ImportedUser:
    """A user as a file describes one; ``line`` is where. Without ``roles`` it gets what everybody gets."""

    line: int
    email: str
    name: str = ""
    language: str | None = None
    password_hash: str | None = dataclasses.field(default=None, repr=False)
    is_password_change_required: bool = False
    is_active: bool = True
    roles: tuple[str, ...] | None = None
    id: uuid.UUID | None = None
    email_verified_at: datetime.datetime | None = None
    deletion_due_at: datetime.datetime | None = None
    created_at: datetime.datetime | None = None
    updated_at: datetime.datetime | None = None
    last_login_at: datetime.datetime | None = None


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Fault:
    """What is wrong with one line."""

    line: int
    field: str
    reason: str


class ImportRefused(InvalidInput):
    """Some lines are wrong, so nothing was imported; ``faults`` names each."""

    detail = "Some lines are wrong; nothing was imported."

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = faults
        super().__init__()


@retried
def find_faults(rows: Sequence[ImportedUser], *, actor: Actor) -> list[Fault]:
    """Return what keeps ``rows`` from being imported: e-mails and ids that are double or taken, roles there are not."""
    roles = _load_roles()
    faults = [*_find_repeated(rows, "email"), *_find_repeated(rows, "id")]
    for chunk in _split(rows):
        emails = set(db.session.scalars(sa.select(User.email).where(User.email.in_([row.email for row in chunk]))))
        ids = [row.id for row in chunk if row.id is not None]
        taken = set(db.session.scalars(sa.select(User.id).where(User.id.in_(ids)))) if ids else set()
        for row in chunk:
            if row.email in emails:
                faults.append(Fault(row.line, "email", "There is an account with this address already."))
            if row.id in taken:
                faults.append(Fault(row.line, "id", "There is an account with this id already."))
            for name in row.roles or ():
                if name not in roles:
                    faults.append(Fault(row.line, "roles", f"There is no role {name!r}."))
                elif not roles[name].permissions <= actor.permissions:
                    faults.append(Fault(row.line, "roles", f"You do not hold all that the role {name!r} allows."))
    return sorted(faults)


def import_users(rows: Sequence[ImportedUser], *, actor: Actor, on_progress: Callable[[int], None]) -> None:
    """Store all of ``rows``, or nothing.

    Their password hashes were checked to be ones that can be verified. ``on_progress`` is called now and then with how
    many were stored since it was last called.

    Raises:
        ImportRefused: naming each line at fault.
    """
    try:
        with transaction() as writing:
            faults = find_faults(rows, actor=actor)
            if faults:
                raise ImportRefused(faults)
            roles = _load_roles()
            instant = now()
            for chunk in _split(rows):
                _add(writing, chunk, roles=roles, actor=actor, instant=instant)
                on_progress(len(chunk))
    except (IntegrityError, ReferenceRefused) as error:
        faults = find_faults(rows, actor=actor)
        if not faults:
            raise
        # Somebody registered with one of the e-mails meanwhile, or deleted one of the roles.
        raise ImportRefused(faults) from error


def _add(
    writing: Session,
    rows: Sequence[ImportedUser],
    *,
    roles: dict[str, Role],
    actor: Actor,
    instant: datetime.datetime,
) -> None:
    users: list[dict[str, Any]] = []
    links: list[dict[str, Any]] = []
    entries: list[dict[str, Any]] = []
    for row in rows:
        user_id = row.id or uuid7()
        names = (USER_ROLE,) if row.roles is None else tuple(dict.fromkeys(row.roles))
        times = {"created_at": row.created_at or instant, "updated_at": row.updated_at or instant}
        users.append({column: getattr(row, column) for column in _AS_GIVEN} | times | {"id": user_id})
        links += [{"user_id": user_id, "role_id": roles[name].id} for name in names if name in roles]
        entries.append(
            {
                "action": "user.imported",
                "actor_id": actor.user_id,
                "target": str(user_id),
                "ip": actor.ip,
                "details": {"roles": sorted(names)},
            }
        )
    writing.execute(sa.insert(User), users)
    if links:
        writing.execute(user_roles.insert(), links)
    writing.execute(sa.insert(AuditEntry), entries)


def _find_repeated(rows: Sequence[ImportedUser], field: str) -> Iterator[Fault]:
    first: dict[object, int] = {}
    for row in rows:
        value = getattr(row, field)
        if value is not None and value in first:
            yield Fault(row.line, field, f"Line {first[value]} has the same.")
        first.setdefault(value, row.line)


def _load_roles() -> dict[str, Role]:
    query = sa.select(Role).options(selectinload(Role.permission_rows))
    return {role.name: role for role in db.session.scalars(query)}


def _split(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]
