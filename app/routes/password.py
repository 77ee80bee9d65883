"""Forgotten passwords: asking for a link by mail, and using it."""

from typing import Any

from flask import Response

from app.http.openapi import Blueprint
from app.http.requests import get_client, get_language
from app.ratelimit import OutcomeOpen, address, rate_limit
from app.schemas import AcceptedOutput, AddressInput, PasswordResetInput
from app.security import (
    HashingBusy,
    ProofOfWorkRequired,
    WeakPassword,
    is_our_page,
    public,
    remember_device,
    requires_work,
)
from app.services import recovery
from app.services.mail_tokens import InvalidToken
from app.services.sign_in_methods import SignInMethodOff

blueprint = Blueprint(
    "password", __name__, url_prefix="/api/v1/auth/password", description="Forgotten passwords, reset by mail"
)


@blueprint.route("/forgot", methods=["POST"])
@blueprint.response(202, AcceptedOutput)
@blueprint.arguments(AddressInput)
@blueprint.raises(SignInMethodOff, ProofOfWorkRequired)
@rate_limit("RATELIMIT_MAIL", by=address, when=is_our_page)
@requires_work
@public
def forget_password(body: dict[str, Any]) -> Any:
    """Mail a link to choose a new password; the answer is the same whether or not there is an account."""
    recovery.request_reset(**body, asked_in=get_language())
    return {"status": "accepted"}


@blueprint.route("/reset", methods=["POST"])
@blueprint.response(204)
@blueprint.arguments(PasswordResetInput)
@blueprint.raises(SignInMethodOff, InvalidToken, WeakPassword, HashingBusy, OutcomeOpen)
@rate_limit("RATELIMIT_TOKEN", by=address, failures_only=InvalidToken, when=is_our_page)
@public
def reset_password(body: dict[str, Any]) -> Response:
    """Use the link of a mail to choose a new password; every session ends, and it works while guesses are refused.

    A password that is refused does not use the link up.
    """
    remember_device(recovery.reset_password(**body, client=get_client()))
    return Response(status=204)
