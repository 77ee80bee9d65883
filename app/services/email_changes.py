"""Changes of an account's address: they take effect where the link is used that was mailed to the new one."""

import uuid
from typing import Final

import sqlalchemy as sa

from app.clock import now
from app.extensions import db, get_settings, retried, transaction
from app.models import MailToken, User
from app.security import Actor, Client

from . import audit, guesses, notices, outbox
from .accounts import read_user, refuse_domain
from .mail_tokens import InvalidToken, add_token, find_token, revoke_tokens
from .outbox import Prepared, QueuedMail, make_link
from .sessions import delete_sessions

CHANGE: Final = "change_email"


@retried
def request_email_change(*, new_email: str, asked_in: str, actor: Actor) -> None:
    """Mail a new address the link that makes it the caller's; nobody learns whether another account has it.

    ``asked_in`` is the language of the request.

    Raises:
        DomainRefused: accounts here have no addresses of this domain.
        UserNotFound: the caller is gone.
    """
    refuse_domain(new_email)
    lifetime = get_settings().verification_lifetime
    with transaction():
        user = read_user(actor.user_id, is_locked=True)
        # Made now and not by the worker: a reset voids it, whether or not it was sent yet.
        token = add_token(CHANGE, user_id=user.id, email=new_email, lifetime_seconds=lifetime, former_email=user.email)
        outbox.queue("change_email", to=new_email, language=user.language or asked_in, token=token)
        audit.record("email.change_requested", actor=actor, target=user.id)


def prepare_change_email(mail: QueuedMail) -> Prepared | None:
    """Make the link that confirms a new address, unless it is void by now or another account has the address."""
    token = mail.context["token"]
    is_taken = db.session.execute(sa.select(User.id).where(User.email == mail.recipient)).first() is not None
    if is_taken or find_token(db.session, token, CHANGE) is None:
        return None
    lifetime = str(get_settings().verification_lifetime)
    return Prepared({"link": make_link("change-email", token), "expires_in": lifetime})


# --- for the other services, inside a transaction of theirs ---


def complete_email_change(used: MailToken, *, session_id: uuid.UUID | None, client: Client) -> str:
    """Give the user whose token was used the address that it was mailed to, and return that.

    The user's sessions end but the one named ``session_id``, links to the former address are void, and its owner is
    told. Whoever calls it answers for an address that is taken.

    Raises:
        InvalidToken: the user is not active, or has another address than when it was asked for.
    """
    user = read_user(used.user_id, is_locked=True)
    former_email = user.email
    if not user.is_active or former_email != used.details["former_email"]:
        raise InvalidToken
    user.email = used.email
    user.email_verified_at = now()
    db.session.flush()
    delete_sessions(user.id, but=session_id)
    revoke_tokens(user.id)
    # Strangers may have guessed at the address before it was an account's.
    guesses.forget(user.email)
    notices.queue_email_changed(user, former_email=former_email, asked_in=client.language)
    audit.record("email.changed", actor=client.as_actor(user.id), target=user.id)
    return user.email
