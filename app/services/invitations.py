"""Invitations: whoever reads the invited address gets an account, with roles that the inviter may give."""

import datetime
import uuid
from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from app.clock import now
from app.database import refuse_duplicate
from app.extensions import db, get_settings, retried, transaction
from app.models import Invitation, User
from app.security import Actor, Client, hash_token, make_token
from app.utils import Conflict, InvalidInput, Message, NotFound

from . import audit, outbox
from .accounts import (
    EmailTaken,
    RegistrationClosed,
    UserNotFound,
    add_user,
    hash_first_password,
    read_user,
)
from .cursors import Sort
from .mail_tokens import InvalidToken, hash_sent_token
from .outbox import Prepared, QueuedMail, make_link
from .pages import Listing, Page
from .roles import RoleNotFound, UngrantablePermission, read_role, refuse_ungrantable
from .sessions import SignIn, add_session

NEWEST_FIRST: Final = Sort("-created_at", Invitation.created_at, Invitation.id, is_descending=True)
_INVITATIONS: Final[Listing[Any]] = Listing(
    sa.select(*(column for column in Invitation.__table__.columns if column.name not in {"language", "token_hash"})),
    filters={},
)


class AlreadyInvited(Conflict):
    """The address has an invitation."""

    detail = "This address has an invitation already. Send it again, or withdraw it first."


class InvitationNotFound(NotFound):
    """There is no such invitation."""

    detail = "There is no such invitation; it may have been used or withdrawn already."


@retried
def list_invitations(*, limit: int, cursor: str | None = None) -> Page[Any]:
    """Return a page of the invitations that nobody has used, the newest first.

    Raises:
        InvalidCursor: the cursor is not one of this list.
    """
    return _INVITATIONS.get_page(NEWEST_FIRST, limit=limit, cursor=cursor)


@retried
def invite(*, email: str, roles: Sequence[str], language: str | None, actor: Actor) -> Invitation:
    """Invite an address; ``roles`` are names beyond the role that everybody gets.

    Raises:
        AlreadyInvited: the address has an invitation.
        EmailTaken: the address has an account.
        RoleNotFound: there is no such role.
        UngrantablePermission: a role holds what the actor does not.
    """
    with refuse_duplicate(Invitation.email, AlreadyInvited), transaction() as writing:
        if _find_user_id(email) is not None:
            raise EmailTaken("There is an account with this address already.")
        for name in roles:
            refuse_ungrantable(read_role(name, is_kept=True).permissions, actor)
        invitation = Invitation(
            email=email,
            roles=sorted(set(roles)),
            language=language,
            inviter_id=actor.user_id,
            expires_at=_make_end(),
        )
        writing.add(invitation)
        writing.flush()
        _queue(invitation)
        audit.record("invitation.created", actor=actor, target=invitation.id, roles=invitation.roles)
    return invitation


@retried
def resend(invitation_id: uuid.UUID, *, actor: Actor) -> None:
    """Send an invitation again; it begins anew, and the link of the former mail is void once the new one is sent.

    Raises:
        InvitationNotFound: there is none.
        UngrantablePermission: it gives a role that holds what the actor does not.
    """
    with transaction():
        invitation = _read(invitation_id, actor)
        invitation.expires_at = _make_end()
        _queue(invitation)
        audit.record("invitation.sent_again", actor=actor, target=invitation.id)


@retried
def withdraw(invitation_id: uuid.UUID, *, actor: Actor) -> None:
    """Withdraw an invitation; its link is void from then on.

    Raises:
        InvitationNotFound: there is none.
        UngrantablePermission: it gives a role that holds what the actor does not.
    """
    with transaction() as writing:
        invitation = _read(invitation_id, actor)
        writing.delete(invitation)
        audit.record("invitation.withdrawn", actor=actor, target=invitation.id)


@retried
def accept(
    token: object,
    *,
    email: str,
    password: str | None,
    name: str,
    language: str | None,
    client: Client,
    replaces: str | None = None,
) -> SignIn:
    """Make the account that an invitation promises, its address verified, and sign its owner in.

    Roles that the inviter may not give any more are left out. ``replaces`` is the token of a session that the new one
    takes the place of.

    Raises:
        RegistrationClosed: nobody can register by themselves, invited or not.
        InvalidToken: the invitation was used or withdrawn, or it ran out.
        InvalidInput: it was for another address.
        EmailTaken: the address has an account meanwhile.
        WeakPassword: with the reason.
    """
    if get_settings().registration == "closed":
        raise RegistrationClosed
    token_hash = hash_sent_token(token, field="invitation")
    password_hash = hash_first_password(password, about=(email, name))
    with refuse_duplicate(User.email, EmailTaken), transaction() as writing:
        invitation = writing.scalars(sa.select(Invitation).where(Invitation.token_hash == token_hash)).one_or_none()
        if invitation is None or invitation.expires_at <= now():
            raise InvalidToken(field="invitation")
        if invitation.email != email:
            message = Message("This is not the address that was invited.", "not_invited")
            raise InvalidInput(errors={"email": [message]})
        # Of many at once one deletes the row; everybody else waits here and deletes none.
        used = db.session.connection().execute(sa.delete(Invitation).where(Invitation.id == invitation.id)).rowcount
        if not used:
            raise InvalidToken(field="invitation")
        inviter = _find_inviter(invitation)
        user = add_user(email=email, name=name, password_hash=password_hash)
        user.language = language or invitation.language
        user.email_verified_at = user.last_login_at = now()
        left_out = _add_roles(user, invitation.roles, inviter)
        writing.flush()
        sign_in = add_session(user.id, client, is_remembered=False, replaces=replaces)
        audit.record(
            "invitation.accepted",
            actor=Actor(user_id=user.id, permissions=frozenset(), ip=client.ip),
            target=user.id,
            invitation=str(invitation.id),
            inviter=None if invitation.inviter_id is None else str(invitation.inviter_id),
            roles=sorted(set(invitation.roles) - set(left_out)),
            left_out=left_out,
        )
    return sign_in


def prepare_invitation(mail: QueuedMail) -> Prepared | None:
    """Make the link of an invitation that is about to be mailed; none if it was withdrawn or used."""
    invitation = db.session.get(Invitation, uuid.UUID(mail.context["invitation"]))
    if invitation is None:
        return None
    inviter = None if invitation.inviter_id is None else db.session.get(User, invitation.inviter_id)
    token = make_token()
    invitation.token_hash = hash_token(token)
    context = {
        "link": make_link("invitation", token),
        "inviter": inviter.name if inviter else "",
        "expires_in": str(get_settings().invitation_lifetime),
    }
    return Prepared(context, language=invitation.language)


def _read(invitation_id: uuid.UUID, actor: Actor) -> Invitation:
    """Return an invitation, locked, whose roles the actor may give."""
    query = sa.select(Invitation).where(Invitation.id == invitation_id).with_for_update()
    invitation = db.session.scalars(query).one_or_none()
    if invitation is None:
        raise InvitationNotFound
    for name in invitation.roles:
        try:
            role = read_role(name)
        except RoleNotFound:
            continue
        refuse_ungrantable(role.permissions, actor)
    return invitation


def _find_inviter(invitation: Invitation) -> Actor:
    """Return who invited, with what they may do now; one who may not sign in any more invites nobody.

    Raises:
        InvalidToken: it was somebody who is not active any more.
    """
    if invitation.inviter_id is None:
        return Actor.system()
    try:
        inviter = read_user(invitation.inviter_id)
    except UserNotFound:
        raise InvalidToken(field="invitation") from None
    if not inviter.is_active:
        raise InvalidToken(field="invitation")
    return Actor(user_id=inviter.id, permissions=inviter.permissions)


def _add_roles(user: User, names: Sequence[str], inviter: Actor) -> list[str]:
    """Give ``user`` the roles that ``inviter`` may give, and return the names of the others."""
    left_out = []
    for name in names:
        try:
            role = read_role(name, is_kept=True)
            refuse_ungrantable(role.permissions, inviter)
        except (RoleNotFound, UngrantablePermission):
            left_out.append(name)
        else:
            if role not in user.roles:
                user.roles.append(role)
    return left_out


def _queue(invitation: Invitation) -> None:
    context = {"invitation": str(invitation.id)}
    outbox.queue("invitation", to=invitation.email, language=invitation.language, **context)


def _find_user_id(email: str) -> uuid.UUID | None:
    return db.session.scalar(sa.select(User.id).where(User.email == email))


def _make_end() -> datetime.datetime:
    return now() + datetime.timedelta(seconds=get_settings().invitation_lifetime)
