"""Leaving: an account is deleted at once or after a time of grace, in which its owner can undo it."""

import datetime
import logging
import uuid
from typing import Final

import sqlalchemy as sa

from app.clock import now
from app.extensions import db, get_settings, retried, transaction
from app.models import User
from app.security import Actor

from . import audit, notices, outbox
from .accounts import UserNotFound, read_user
from .admins import LastAdmin, lock_admins, refuse_last_admin
from .mail_tokens import revoke_tokens
from .sessions import delete_sessions
from .user_data import UserInUse, delete_with_data, refuse_use

logger = logging.getLogger(__name__)

DUE_AT_ONCE: Final = 50


@retried
def leave(*, actor: Actor) -> datetime.datetime | None:
    """Delete the caller's account, or have it deleted after the time of grace; return when, or None if it is gone.

    Every session ends at once; until then its address stays taken, and signing in still works, so that its owner can
    undo it.

    Raises:
        LastAdmin: nobody could administer afterwards.
        UserInUse: something that others store refers to the user.
    """
    days = get_settings().deletion_grace_days
    due_at = now() + datetime.timedelta(days=days)
    with refuse_use(actor.user_id), transaction():
        lock_admins()
        user = read_user(actor.user_id, is_locked=True)
        refuse_last_admin(user)
        if not days:
            delete_with_data(user)
            audit.record("user.deleted", actor=actor, target=user.id)
            outbox.queue("account_deleted", to=user.email, language=user.language)
            return None
        _check_can_go(user)
        user.deletion_due_at = due_at
        delete_sessions(user.id)
        revoke_tokens(user.id)
        audit.record("user.deletion_requested", actor=actor, target=user.id)
        notices.queue_deletion(user, due_at)
    return due_at


@retried
def stay(*, actor: Actor) -> None:
    """Undo the caller's deletion; where none waits, nothing changes."""
    with transaction():
        user = read_user(actor.user_id, is_locked=True)
        if user.deletion_due_at is not None:
            user.deletion_due_at = None
            audit.record("user.deletion_undone", actor=actor, target=user.id)


def _check_can_go(user: User) -> None:
    """Delete the user and take it back: who cannot go is told now, and not when nobody is there to be told."""
    attempt = db.session.begin_nested()
    delete_with_data(user)
    attempt.rollback()
    db.session.refresh(user)


def delete_due() -> int:
    """Delete the accounts whose time of grace is over, each in a transaction of its own, and return how many.

    One that cannot go, such as that of the last administrator, stays and is tried again later.
    """
    deleted = 0
    for user_id in _list_due():
        try:
            deleted += _delete_if_due(user_id)
        except (LastAdmin, UserInUse) as error:
            logger.warning("an account that is due cannot be deleted: %s", error.code, extra={"user_id": str(user_id)})
    return deleted


@retried
def _list_due() -> list[uuid.UUID]:
    due_first = sa.select(User.id).where(User.deletion_due_at <= now()).order_by(User.deletion_due_at)
    return list(db.session.scalars(due_first.limit(DUE_AT_ONCE)).all())


@retried
def _delete_if_due(user_id: uuid.UUID) -> bool:
    with refuse_use(user_id), transaction():
        lock_admins()
        try:
            user = read_user(user_id, is_locked=True)
        except UserNotFound:
            return False  # Another worker was first.
        if user.deletion_due_at is None or user.deletion_due_at > now():
            return False  # Its owner has just undone it.
        refuse_last_admin(user)
        delete_with_data(user)
        audit.record("user.deleted", actor=Actor.system(), target=user.id)
        outbox.queue("account_deleted", to=user.email, language=user.language)
    return True
