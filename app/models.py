"""What we remember: users, roles, sessions, mails and what they prove, and the audit trail.

To add a model, add a class here, then ``flask --app run db migrate -m "…"`` writes its migration.
"""

from __future__ import annotations

import datetime
import uuid
from typing import Any, ClassVar, Final

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from uuid_utils.compat import uuid7

from .clock import now
from .database.types import ExactString, UtcDateTime
from .emails import EMAIL_MAX_LENGTH
from .extensions import get_permissions
from .languages import LANGUAGE_MAX_LENGTH
from .permissions import BUILT_IN_ROLES, ROLE_NAME_MAX_LENGTH, find_allowed
from .search import Searched

NAME_MAX_LENGTH = 200
DESCRIPTION_MAX_LENGTH = 500
USER_AGENT_MAX_LENGTH = 256
RATE_LIMIT_NAME_MAX_LENGTH = 64
LIMITS_MAX_LENGTH = 200
PASSWORD_HASH_MAX_LENGTH = 255
HASH_LENGTH = 64
MAIL_ERROR_MAX_LENGTH = 500
SEALED_MAX_LENGTH = 4096
WAITING: Final = "waiting"
SENT: Final = "sent"
DEAD: Final = "dead"
DROPPED: Final = "dropped"
MAIL_STATES: Final = (WAITING, SENT, DEAD, DROPPED)
USERS_KEY: Final = "users.id"
"""What refers to a user refers to this."""


class Base(DeclarativeBase):
    """The base of every model; constraints are named, so that a migration can find them again."""

    metadata = sa.MetaData(
        naming_convention={
            "ix": "ix_%(column_0_N_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {datetime.datetime: UtcDateTime(), uuid.UUID: sa.Uuid()}


class Model(Base):
    """A base for models with a key and the usual times of their own."""

    __abstract__ = True

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7, sort_order=-1)
    created_at: Mapped[datetime.datetime] = mapped_column(default=now, sort_order=1)
    updated_at: Mapped[datetime.datetime] = mapped_column(default=now, onupdate=now, sort_order=1)


user_roles = sa.Table(
    "user_roles",
    Base.metadata,
    sa.Column("user_id", sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("role_id", sa.ForeignKey("roles.id", ondelete="CASCADE"), primary_key=True, index=True),
)


class User(Searched, Base):
    """A person with an account."""

    __tablename__ = "users"
    __searched__ = ("name", "email")

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    email: Mapped[str] = mapped_column(ExactString(EMAIL_MAX_LENGTH), unique=True)
    name: Mapped[str] = mapped_column(ExactString(NAME_MAX_LENGTH), default="")
    language: Mapped[str | None] = mapped_column(sa.String(LANGUAGE_MAX_LENGTH))
    password_hash: Mapped[str | None] = mapped_column(sa.String(PASSWORD_HASH_MAX_LENGTH))
    is_password_change_required: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    is_active: Mapped[bool] = mapped_column(default=True)
    email_verified_at: Mapped[datetime.datetime | None]
    deletion_due_at: Mapped[datetime.datetime | None] = mapped_column(index=True)
    created_at: Mapped[datetime.datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime.datetime] = mapped_column(default=now, onupdate=now)
    last_login_at: Mapped[datetime.datetime | None]

    roles: Mapped[list[Role]] = relationship(secondary=user_roles, order_by="Role.name")

    # The plain lists of the administration are walked by these.
    __table_args__ = (sa.Index(None, "created_at", "id"), sa.Index(None, "name", "id"))

    @property
    def role_names(self) -> list[str]:
        """The names of the user's roles, sorted."""
        return sorted(role.name for role in self.roles)

    @property
    def permissions(self) -> frozenset[str]:
        """Everything that the user's roles allow."""
        return frozenset[str]().union(*(role.permissions for role in self.roles))

    @property
    def is_mfa_enabled(self) -> bool:
        """Whether signing in takes a second factor. There is none to set up yet."""
        return False


class Role(Base):
    """A named set of permissions."""

    __tablename__ = "roles"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    name: Mapped[str] = mapped_column(ExactString(ROLE_NAME_MAX_LENGTH), unique=True)
    description: Mapped[str] = mapped_column(ExactString(DESCRIPTION_MAX_LENGTH), default="")
    created_at: Mapped[datetime.datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime.datetime] = mapped_column(default=now, onupdate=now)

    permission_rows: Mapped[list[RolePermission]] = relationship(
        cascade="all, delete-orphan", passive_deletes=True, order_by="RolePermission.permission"
    )

    @property
    def permissions(self) -> frozenset[str]:
        """What the role allows."""
        return find_allowed(self.name, (row.permission for row in self.permission_rows), get_permissions())

    @property
    def is_built_in(self) -> bool:
        """Whether the product relies on this role."""
        return self.name in BUILT_IN_ROLES


class RolePermission(Base):
    """One permission of one role."""

    __tablename__ = "role_permissions"

    role_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("roles.id", ondelete="CASCADE"), primary_key=True)
    permission: Mapped[str] = mapped_column(ExactString(ROLE_NAME_MAX_LENGTH), primary_key=True)


class Session(Base):
    """A signed-in browser or program: its cookie carries a random token, this row the token's SHA-256."""

    __tablename__ = "sessions"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    user_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"), index=True)
    token_hash: Mapped[str] = mapped_column(sa.String(64), unique=True)
    ip: Mapped[str] = mapped_column(sa.String(45))
    user_agent: Mapped[str] = mapped_column(ExactString(USER_AGENT_MAX_LENGTH))
    is_remembered: Mapped[bool]
    created_at: Mapped[datetime.datetime] = mapped_column(default=now)
    last_seen_at: Mapped[datetime.datetime] = mapped_column(default=now)
    authenticated_at: Mapped[datetime.datetime | None]
    expires_at: Mapped[datetime.datetime] = mapped_column(index=True)

    user: Mapped[User] = relationship()


class OutboxMessage(Base):
    """A mail that waits to be sent, was sent, or was given up.

    Nobody marks one as being sent: whoever claims it moves ``due_at`` into the future, so that a crash heals by itself.
    """

    __tablename__ = "outbox"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    template: Mapped[str] = mapped_column(sa.String(64))
    recipient: Mapped[str] = mapped_column(ExactString(EMAIL_MAX_LENGTH))
    language: Mapped[str | None] = mapped_column(sa.String(LANGUAGE_MAX_LENGTH))
    sealed_context: Mapped[str] = mapped_column(sa.String(SEALED_MAX_LENGTH), default="")
    is_prepared: Mapped[bool] = mapped_column(default=False)
    state: Mapped[str] = mapped_column(sa.String(8), default="waiting")
    due_at: Mapped[datetime.datetime] = mapped_column(default=now)
    lease: Mapped[str | None] = mapped_column(sa.String(32))
    attempts: Mapped[int] = mapped_column(default=0)
    last_error: Mapped[str | None] = mapped_column(ExactString(MAIL_ERROR_MAX_LENGTH))
    created_at: Mapped[datetime.datetime] = mapped_column(default=now, index=True)
    give_up_at: Mapped[datetime.datetime]
    finished_at: Mapped[datetime.datetime | None]

    __table_args__ = (sa.Index(None, "state", "due_at", "id"), sa.Index(None, "recipient", "created_at"))


class MailToken(Base):
    """What a mailed link or code proves. The link carries a random token, this row the token's SHA-256."""

    __tablename__ = "mail_tokens"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    purpose: Mapped[str] = mapped_column(sa.String(32))
    token_hash: Mapped[str] = mapped_column(sa.String(HASH_LENGTH), unique=True)
    code_hash: Mapped[str | None] = mapped_column(sa.String(HASH_LENGTH))
    tries_left: Mapped[int] = mapped_column(default=0)
    user_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"))
    email: Mapped[str] = mapped_column(ExactString(EMAIL_MAX_LENGTH))
    browser_hash: Mapped[str | None] = mapped_column(sa.String(HASH_LENGTH))
    details: Mapped[dict[str, Any]] = mapped_column(sa.JSON, default=dict)
    created_at: Mapped[datetime.datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime.datetime] = mapped_column(index=True)

    __table_args__ = (sa.Index(None, "user_id", "purpose"), sa.Index(None, "email", "purpose"))


class Registration(Base):
    """An account that somebody asked for and whose address is not verified yet; a newer one takes its place.

    It is disputed where several browsers asked for one: which of them is the owner's, only ``browser_hash`` tells then.
    """

    __tablename__ = "registrations"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    email: Mapped[str] = mapped_column(ExactString(EMAIL_MAX_LENGTH), unique=True)
    name: Mapped[str] = mapped_column(ExactString(NAME_MAX_LENGTH), default="")
    language: Mapped[str | None] = mapped_column(sa.String(LANGUAGE_MAX_LENGTH))
    password_hash: Mapped[str | None] = mapped_column(sa.String(PASSWORD_HASH_MAX_LENGTH))
    browser_hash: Mapped[str | None] = mapped_column(sa.String(HASH_LENGTH))
    is_disputed: Mapped[bool] = mapped_column(default=False)
    token_hash: Mapped[str] = mapped_column(sa.String(HASH_LENGTH), unique=True)
    created_at: Mapped[datetime.datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime.datetime] = mapped_column(index=True)


class Invitation(Base):
    """An invitation that nobody has used yet; ``roles`` are names, given if the inviter may still give them.

    It goes with the inviter; without one, the operator invited.
    """

    __tablename__ = "invitations"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    email: Mapped[str] = mapped_column(ExactString(EMAIL_MAX_LENGTH), unique=True)
    roles: Mapped[list[str]] = mapped_column(sa.JSON, default=list)
    language: Mapped[str | None] = mapped_column(sa.String(LANGUAGE_MAX_LENGTH))
    token_hash: Mapped[str | None] = mapped_column(sa.String(HASH_LENGTH), unique=True)
    inviter_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime.datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime.datetime] = mapped_column(index=True)

    __table_args__ = (sa.Index(None, "created_at", "id"),)


class GuessCount(Base):
    """How many wrong passwords and codes in a row an account had, by the hash of its name; known or not."""

    __tablename__ = "guess_counts"

    account_hash: Mapped[str] = mapped_column(sa.String(HASH_LENGTH), primary_key=True)
    failures: Mapped[int] = mapped_column(default=0)
    failed_at: Mapped[datetime.datetime] = mapped_column(default=now, index=True)


class RateLimit(Base):
    """What an administrator put in the place of a limit that is configured."""

    __tablename__ = "rate_limits"

    name: Mapped[str] = mapped_column(ExactString(RATE_LIMIT_NAME_MAX_LENGTH), primary_key=True)
    limits: Mapped[str] = mapped_column(sa.String(LIMITS_MAX_LENGTH))
    updated_at: Mapped[datetime.datetime] = mapped_column(default=now, onupdate=now)


class RoleRateLimit(Base):
    """What an administrator put in the place of a limit for those who have a role."""

    __tablename__ = "role_rate_limits"

    name: Mapped[str] = mapped_column(ExactString(RATE_LIMIT_NAME_MAX_LENGTH), primary_key=True)
    role_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("roles.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    limits: Mapped[str] = mapped_column(sa.String(LIMITS_MAX_LENGTH))
    updated_at: Mapped[datetime.datetime] = mapped_column(default=now, onupdate=now)


class AuditEntry(Base):
    """Something that somebody did. It outlives both the actor and the target, so neither is a foreign key."""

    __tablename__ = "audit_entries"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    created_at: Mapped[datetime.datetime] = mapped_column(default=now, index=True)
    action: Mapped[str] = mapped_column(sa.String(64), index=True)
    actor_id: Mapped[uuid.UUID | None] = mapped_column(index=True)
    target: Mapped[str | None] = mapped_column(ExactString(ROLE_NAME_MAX_LENGTH), index=True)
    ip: Mapped[str | None] = mapped_column(sa.String(45))
    details: Mapped[dict[str, Any]] = mapped_column(sa.JSON, default=dict)


_DECLARED: Final = frozenset(Base.metadata.tables)  # nobody can have declared another before this module is imported


def list_product_tables() -> frozenset[str]:
    """Return the names of the product's own tables, with those of models that were added to its modules."""
    package = __name__.rpartition(".")[0]
    mappers = (mapper for mapper in Base.registry.mappers if mapper.class_.__module__.startswith(f"{package}."))
    return _DECLARED.union(str(mapper.local_table.name) for mapper in mappers)  # type: ignore[attr-defined] # a table


def list_user_columns(table: sa.Table) -> list[sa.Column[Any]]:
    """Return the columns of ``table`` that refer to a user."""
    return [column for column in table.columns if any(key.target_fullname == USERS_KEY for key in column.foreign_keys)]
