"""Changing the address of one's account."""

from typing import Any

from app.http.openapi import Blueprint
from app.http.requests import get_actor, get_language
from app.ratelimit import address, rate_limit
from app.schemas import AcceptedOutput, EmailChangeInput
from app.security import is_our_page, requires
from app.services import email_changes
from app.services.accounts import DomainRefused, UserNotFound

blueprint = Blueprint(
    "email_change", __name__, url_prefix="/api/v1/auth/email", description="Changing the address of one's account"
)


@blueprint.route("/change", methods=["POST"])
@blueprint.response(202, AcceptedOutput)
@blueprint.arguments(EmailChangeInput)
@blueprint.raises(DomainRefused, UserNotFound)
@rate_limit("RATELIMIT_MAIL", by=address, when=is_our_page)
@requires(fresh=True)
def change_email(body: dict[str, Any]) -> Any:
    """Mail a link to a new address, which is the account's once the link is used (POST /api/v1/auth/email/verify).

    The answer is the same whether or not another account has the address.
    """
    email_changes.request_email_change(**body, asked_in=get_language(), actor=get_actor())
    return {"status": "accepted"}
