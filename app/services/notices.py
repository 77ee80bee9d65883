"""Notices: mails that tell an account's owner of a change, each with a link for the case that it was somebody else."""

import datetime

import sqlalchemy as sa

from app.clock import now
from app.extensions import db, get_settings
from app.models import USER_AGENT_MAX_LENGTH, User
from app.security import Client, SignedInUser

from . import outbox
from .mail_tokens import NOT_ME, add_token
from .outbox import Prepared, QueuedMail, make_link


def queue_password_changed(user: User, *, asked_in: str | None = None) -> None:
    """Tell a user in the current transaction of their new password; ``asked_in`` is the language of the request."""
    _queue("password_changed", user, to=user.email, asked_in=asked_in)


def queue_email_changed(user: User, *, former_email: str, asked_in: str | None = None) -> None:
    """Tell the owner of a user's former address in the current transaction of the new one."""
    _queue("email_changed", user, to=former_email, asked_in=asked_in, new_email=user.email)


def queue_deletion(user: User, due_at: datetime.datetime) -> None:
    """Tell a user in the current transaction that the account is going to be deleted, and how to keep it."""
    link = make_link("undo-deletion")
    _queue("account_deletion", user, to=user.email, asked_in=None, due_at=due_at.isoformat(), link=link)


def queue_new_device(user: SignedInUser, client: Client) -> None:
    """Tell a user in the current transaction of a sign-in from a browser that the account does not know."""
    outbox.queue(
        "new_device",
        to=user.email,
        language=user.language or client.language,
        user_id=str(user.id),
        at=now().isoformat(),
        ip=client.ip,
        user_agent=client.user_agent[:USER_AGENT_MAX_LENGTH],
    )


def prepare_new_device(mail: QueuedMail) -> Prepared | None:
    """Make the link of a notice of a sign-in; nobody is told whose address changed since, which was told of itself."""
    user = db.session.scalars(sa.select(User).where(User.email == mail.recipient)).one_or_none()
    shown = dict(mail.context)
    if user is None or str(user.id) != shown.pop("user_id"):
        return None
    lifetime = get_settings().undo_lifetime
    token = add_token(NOT_ME, user_id=user.id, email=user.email, lifetime_seconds=lifetime, asked_at=mail.created_at)
    return Prepared({**shown, "not_me_link": make_link("not-me", token)})


def _queue(template: str, user: User, *, to: str, asked_in: str | None, **shown: str) -> None:
    # Made now and not by the worker: who uses an earlier one voids it, whether or not it was sent yet.
    token = add_token(NOT_ME, user_id=user.id, email=to, lifetime_seconds=get_settings().undo_lifetime)
    language = user.language or asked_in
    outbox.queue(template, to=to, language=language, not_me_link=make_link("not-me", token), **shown)
