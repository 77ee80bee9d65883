"""Signing in by a mailed link or code."""

from typing import Any

from flask_login import current_user

from app.http.limits import account
from app.http.openapi import Blueprint
from app.http.requests import get_client, get_language
from app.http.sign_ins import answer_sign_in
from app.ratelimit import OutcomeOpen, address, rate_limit
from app.schemas import AcceptedOutput, AddressInput, MailSignInProofInput, SignInOutput
from app.security import (
    ProofOfWorkRequired,
    choose_account_name,
    find_asking_browser,
    find_browser_token,
    forget_asking_browser,
    is_our_page,
    mark_asking_browser,
    public,
    requires_work,
)
from app.services import mail_sign_in
from app.services.accounts import InvalidCredentials
from app.services.guesses import TooManyGuesses
from app.services.mail_sign_in import Attempt
from app.services.mail_tokens import InvalidToken
from app.services.sign_in_methods import SignInMethodOff

blueprint = Blueprint(
    "mail_sign_in",
    __name__,
    url_prefix="/api/v1/auth/mail-sign-in",
    description="Signing in by a mailed link or code",
)


@blueprint.route("", methods=["POST"])
@blueprint.response(202, AcceptedOutput)
@blueprint.arguments(AddressInput)
@blueprint.raises(SignInMethodOff, ProofOfWorkRequired)
@rate_limit("RATELIMIT_MAIL", by=address, when=is_our_page)
@requires_work
@public
def ask_for_mail(body: dict[str, Any]) -> Any:
    """Mail a link or a code that signs in, in this browser alone; the answer is the same for every address."""
    mail_sign_in.request_sign_in(**body, browser_hash=mark_asking_browser(), asked_in=get_language())
    return {"status": "accepted"}


def _is_typed() -> bool:
    """Say whether the body names an account: it is a guess at the code, and not at 256 bits."""
    return is_our_page() and account.find() != ""


def _is_link() -> bool:
    return is_our_page() and account.find() == ""


@blueprint.route("/verify", methods=["POST"])
@blueprint.response(200, SignInOutput)
@blueprint.arguments(MailSignInProofInput)
@blueprint.raises(SignInMethodOff, InvalidToken, InvalidCredentials, TooManyGuesses, OutcomeOpen)
@rate_limit("RATELIMIT_TOKEN", by=address, failures_only=InvalidToken, when=_is_link)
@rate_limit("RATELIMIT_LOGIN_ADDRESS", by=address, failures_only=InvalidCredentials, when=_is_typed)
@rate_limit("RATELIMIT_LOGIN", by=account, failures_only=InvalidCredentials, when=_is_typed)
@public
def sign_in_by_mail(body: dict[str, Any]) -> Any:
    """Sign in by the token of a mailed link, or by a mailed code and the address, in the browser that asked."""
    is_remembered = body.pop("remember")
    attempt = Attempt(
        browser_hash=find_asking_browser(),
        client=get_client(),
        is_remembered=is_remembered,
        replaces=find_browser_token(),
        caller_id=current_user.user.id if current_user.is_authenticated else None,
        name_account=choose_account_name,
    )
    if "token" in body:
        sign_in = mail_sign_in.sign_in_by_link(**body, attempt=attempt)
    else:
        sign_in = mail_sign_in.sign_in_by_code(**body, attempt=attempt)
    forget_asking_browser()
    return answer_sign_in(sign_in, is_remembered=is_remembered)
