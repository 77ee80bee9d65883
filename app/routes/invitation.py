"""Inviting people."""

import uuid
from typing import Any

from flask import Response

from app.http.openapi import Blueprint
from app.http.requests import get_actor
from app.schemas import AcceptedOutput, InvitationInput, InvitationOutput, InvitationPageOutput, PageQuery
from app.security import requires
from app.services import invitations
from app.services.accounts import EmailTaken
from app.services.cursors import InvalidCursor
from app.services.invitations import AlreadyInvited, InvitationNotFound
from app.services.roles import RoleNotFound, UngrantablePermission

blueprint = Blueprint(
    "invitation", __name__, tag="invitations", url_prefix="/api/v1/invitations", description="Inviting people"
)


@blueprint.route("")
@blueprint.resource("invitations", title="email", columns=("email", "roles", "created_at", "expires_at"))
@blueprint.response(200, InvitationPageOutput)
@blueprint.arguments(PageQuery, location="query")
@blueprint.raises(InvalidCursor)
@requires("invitations:read")
def list_invitations(query: dict[str, Any]) -> Any:
    """List the invitations that nobody has used yet, the newest first, page by page."""
    return invitations.list_invitations(**query)


@blueprint.route("", methods=["POST"])
@blueprint.response(201, InvitationOutput)
@blueprint.arguments(InvitationInput)
@blueprint.raises(AlreadyInvited, EmailTaken, RoleNotFound, UngrantablePermission)
@requires("invitations:write")
def invite(body: dict[str, Any]) -> Any:
    """Invite an address; a mail brings the link that makes the account."""
    return invitations.invite(**body, actor=get_actor())


@blueprint.route("/<uuid:invitation_id>", methods=["DELETE"])
@blueprint.response(204)
@blueprint.raises(InvitationNotFound, UngrantablePermission)
@requires("invitations:write")
def withdraw_invitation(invitation_id: uuid.UUID) -> Response:
    """Withdraw an invitation; its link is void at once."""
    invitations.withdraw(invitation_id, actor=get_actor())
    return Response(status=204)


@blueprint.route("/<uuid:invitation_id>/resend", methods=["POST"])
@blueprint.response(202, AcceptedOutput)
@blueprint.raises(InvitationNotFound, UngrantablePermission)
@requires("invitations:write")
def resend_invitation(invitation_id: uuid.UUID) -> Any:
    """Send an invitation again; it begins anew, and the former link is void once the mail is sent."""
    invitations.resend(invitation_id, actor=get_actor())
    return {"status": "accepted"}
