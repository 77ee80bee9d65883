"""What the rate limiter remembers, for operators."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from app.extensions import db, limiter, transaction, verb
from app.models import User
from app.permissions import ROLE_NAME_MAX_LENGTH
from app.security import list_account_keys

from . import audit

if TYPE_CHECKING:
    from app.security import Actor


def show(key: str) -> object:
    """Return what is counted under ``key``, such as ``account:ada@example.com``."""
    return limiter.show(key)


@verb
def clear(key: str, *, actor: Actor) -> None:
    """Forget what is counted under ``key``; an account's key stands for those of its devices too."""
    kind, _, rest = key.partition(":")
    with transaction():
        # An address stays out of the trail: the user's id says whose it is.
        user_id = db.session.scalar(sa.select(User.id).where(User.email == rest)) if kind == "account" else None
        target = user_id if kind == "account" else key[:ROLE_NAME_MAX_LENGTH]
        audit.record("ratelimit.cleared", actor=actor, target=target, kind=kind)
    for each in list_account_keys(rest) if kind == "account" else [key]:
        limiter.clear(each)
