"""The first administrator of an empty database."""

from __future__ import annotations

import dataclasses
import secrets

import sqlalchemy as sa

from app.extensions import db, get_settings
from app.models import User
from app.permissions import ADMIN_ROLE
from app.security import Actor

from .accounts import EmailTaken
from .users import assign_role, create_user


@dataclasses.dataclass(frozen=True, slots=True)
class FirstAdmin:
    """The administrator that was made; ``password`` only where it was made up, to be shown once."""

    email: str
    password: str | None = dataclasses.field(repr=False)


def make_first_admin() -> FirstAdmin | None:
    """Make the administrator that ``ADMIN_EMAIL`` names, if there is no user at all, and return who was made.

    Without ``ADMIN_PASSWORD`` a password is made up. Running it again changes nothing.

    Raises:
        WeakPassword: ``ADMIN_PASSWORD`` is.
    """
    settings = get_settings()
    if not settings.admin_email or db.session.scalar(sa.select(User.id).limit(1)) is not None:
        return None
    invented = None if settings.admin_password else secrets.token_urlsafe(15)
    password = settings.admin_password or invented
    try:
        user = create_user(email=settings.admin_email, name="Administrator", password=password, actor=Actor.system())
    except EmailTaken:
        return None  # Another process was first.
    assign_role(user.id, ADMIN_ROLE, actor=Actor.system())
    return FirstAdmin(user.email, invented)
