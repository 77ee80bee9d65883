"""Who is calling: the signed-in caller, and what services are told about it."""

from __future__ import annotations

import dataclasses
import datetime
import uuid

from flask_login import UserMixin

from app.extensions import get_permissions


@dataclasses.dataclass(frozen=True, slots=True)
class Client:
    """Where a request came from, and the language that it asks for."""

    ip: str
    user_agent: str
    language: str | None = None

    def as_actor(self, user_id: uuid.UUID | None = None) -> Actor:
        """Return whoever acts from there without a session, such as by a mailed link of the user ``user_id``."""
        return Actor(user_id=user_id, permissions=frozenset(), ip=self.ip)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """The person or the operator on whose behalf a service acts; it goes into the audit trail."""

    user_id: uuid.UUID | None
    permissions: frozenset[str]
    session_id: uuid.UUID | None = None
    ip: str | None = None

    @classmethod
    def system(cls) -> Actor:
        """Return the operator at the command line, who may do everything."""
        return cls(user_id=None, permissions=get_permissions())


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SignedInUser:
    """The caller's account as it was when the request began; to change it, load the ``User``."""

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
    role_names: tuple[str, ...]
    permissions: frozenset[str]
    is_mfa_enabled: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class SignedInSession:
    """The session that the request belongs to."""

    id: uuid.UUID
    authenticated_at: datetime.datetime | None


@dataclasses.dataclass(frozen=True, eq=False)
class Principal(UserMixin):  # type: ignore[misc] # Flask-Login ships no types
    """The signed-in caller of this request: the session and its user."""

    session: SignedInSession
    user: SignedInUser
