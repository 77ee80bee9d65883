"""The first administrator of an empty database."""

import dataclasses
from typing import Final

import sqlalchemy as sa

from app.extensions import db, get_settings, retried, transaction
from app.models import User
from app.permissions import ADMIN_ROLE
from app.security import Actor, get_policy

from . import audit
from .accounts import add_user, hash_new_password
from .admins import lock_admins
from .roles import read_role

NAME: Final = "Administrator"


@dataclasses.dataclass(frozen=True, slots=True)
class FirstAdmin:
    """The administrator that was made; ``password`` only where it was made up, to be shown once."""

    email: str
    password: str | None = dataclasses.field(repr=False)


@retried
def make_first_admin() -> FirstAdmin | None:
    """Make the administrator that ``ADMIN_EMAIL`` names, if there is no user at all, and return who was made.

    Without ``ADMIN_PASSWORD`` a password is made up. Running it again changes nothing.

    Raises:
        WeakPassword: ``ADMIN_PASSWORD`` is.
    """
    settings = get_settings()
    if not settings.admin_email or _has_user():
        return None
    invented = None if settings.admin_password else get_policy().invent()
    password = settings.admin_password or invented or ""
    password_hash = hash_new_password(password, about=(settings.admin_email, NAME), field="ADMIN_PASSWORD")
    with transaction():
        lock_admins()
        if _has_user():
            return None  # Another process was first.
        user = add_user(email=settings.admin_email, name=NAME, password_hash=password_hash)
        user.roles.append(read_role(ADMIN_ROLE))
        audit.record("user.created", actor=Actor.system(), target=user.id)
        audit.record("role.assigned", actor=Actor.system(), target=user.id, role=ADMIN_ROLE)
    return FirstAdmin(user.email, invented)


def _has_user() -> bool:
    return db.session.scalar(sa.select(User.id).limit(1)) is not None
