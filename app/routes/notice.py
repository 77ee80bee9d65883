"""What the owner of an account does with a mail that tells of a change: say that it was somebody else."""

from typing import Any

from flask import Response

from app.http.openapi import Blueprint
from app.http.requests import get_client
from app.ratelimit import OutcomeOpen, address, rate_limit
from app.schemas import TokenInput
from app.security import is_our_page, public
from app.services import recovery
from app.services.mail_tokens import InvalidToken

blueprint = Blueprint(
    "notice", __name__, url_prefix="/api/v1/auth", description='Answering a notice: "this was not me"'
)


@blueprint.route("/not-me", methods=["POST"])
@blueprint.response(204)
@blueprint.arguments(TokenInput)
@blueprint.raises(InvalidToken, OutcomeOpen)
@rate_limit("RATELIMIT_TOKEN", by=address, failures_only=InvalidToken, when=is_our_page)
@public
def reject_change(body: dict[str, Any]) -> Response:
    """Use the link of a notice: end all sessions, void the password, restore the address, and mail a link to reset."""
    recovery.reject_change(**body, client=get_client())
    return Response(status=204)
