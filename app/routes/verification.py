"""Verifying e-mail addresses by mailed links."""

from typing import Any

from flask import Response
from flask_login import current_user

from app.http.openapi import Blueprint
from app.http.requests import get_client, get_language
from app.ratelimit import OutcomeOpen, address, rate_limit
from app.schemas import AcceptedOutput, AddressInput, TokenInput
from app.security import ProofOfWorkRequired, find_asking_browser, is_our_page, public, remember_device, requires_work
from app.services import registrations
from app.services.mail_tokens import InvalidToken

blueprint = Blueprint(
    "verification", __name__, url_prefix="/api/v1/auth/email", description="Verifying e-mail addresses by mailed links"
)


@blueprint.route("/verify", methods=["POST"])
@blueprint.response(204)
@blueprint.arguments(TokenInput)
@blueprint.raises(InvalidToken, OutcomeOpen)
@rate_limit("RATELIMIT_TOKEN", by=address, failures_only=InvalidToken, when=is_our_page)
@public
def verify_email(body: dict[str, Any]) -> Response:
    """Use the link of a mail: begin the account that was registered, or verify or change an account's address."""
    is_signed_in = current_user.is_authenticated
    caller = {
        "caller_id": current_user.user.id if is_signed_in else None,
        "session_id": current_user.session.id if is_signed_in else None,
    }
    browser_hash = find_asking_browser()
    remember_device(registrations.verify(body["token"], **caller, browser_hash=browser_hash, client=get_client()))
    return Response(status=204)


@blueprint.route("/verify/resend", methods=["POST"])
@blueprint.response(202, AcceptedOutput)
@blueprint.arguments(AddressInput)
@blueprint.raises(ProofOfWorkRequired)
@rate_limit("RATELIMIT_MAIL", by=address, when=is_our_page)
@requires_work
@public
def resend_verification(body: dict[str, Any]) -> Any:
    """Mail the link once more; the answer is the same whether or not the address waits for one."""
    registrations.request_verification(**body, asked_in=get_language())
    return {"status": "accepted"}
