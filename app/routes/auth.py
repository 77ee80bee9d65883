"""Signing up, in and out."""

from typing import Any

from flask import Response, jsonify
from flask_login import current_user

from app.extensions import get_settings
from app.http.limits import account, own_account
from app.http.openapi import Blueprint
from app.http.requests import get_actor, get_client, get_language
from app.http.sign_ins import answer_sign_in
from app.ratelimit import OutcomeOpen, address, rate_limit
from app.schemas import (
    AcceptedOutput,
    CsrfOutput,
    LoginInput,
    OwnUserOutput,
    PasswordChangeInput,
    ReauthenticateInput,
    RegisterInput,
    SignInOutput,
)
from app.security import (
    HashingBusy,
    ProofOfWorkRequired,
    SignedInUser,
    WeakPassword,
    choose_account_name,
    end_browser_session,
    find_browser_token,
    is_our_page,
    make_csrf_token,
    mark_asking_browser,
    public,
    renew_browser_session,
    requires,
    requires_work,
)
from app.services import accounts, invitations, leaving, mail_sign_in, passwords, registrations, sessions
from app.services.accounts import (
    DomainRefused,
    EmailTaken,
    InvalidCredentials,
    InvitationRequired,
    RegistrationClosed,
    UserNotFound,
)
from app.services.guesses import TooManyGuesses
from app.services.mail_tokens import InvalidToken
from app.services.sessions import SessionNotFound, SignIn
from app.services.sign_in_methods import SignInMethodOff

blueprint = Blueprint("auth", __name__, url_prefix="/api/v1/auth", description="Signing up, in and out")


@blueprint.route("/csrf")
@blueprint.response(200, CsrfOutput)
@public
def get_csrf() -> dict[str, str]:
    """Get the token that state-changing calls send in X-CSRF-Token."""
    return {"csrf_token": make_csrf_token()}


@blueprint.route("/register", methods=["POST"])
@blueprint.response(201, OwnUserOutput)
@blueprint.alt_response(202, schema=AcceptedOutput, description="The address has to be verified first.")
@blueprint.arguments(RegisterInput)
@blueprint.raises(RegistrationClosed, InvitationRequired, DomainRefused, EmailTaken)
@blueprint.raises(WeakPassword, HashingBusy, InvalidToken, ProofOfWorkRequired)
@rate_limit("RATELIMIT_REGISTER", by=address, when=is_our_page)
@requires_work
@public
def register(body: dict[str, Any]) -> Any:
    """Create an account and sign in to it; where addresses have to be verified, mail a link that creates it."""
    invitation = body.pop("invitation", None)
    if invitation is not None:
        sign_in = invitations.accept(invitation, **body, client=get_client(), replaces=find_browser_token())
        return _begin(sign_in)
    if get_settings().email_verification == "required":
        browser_hash = mark_asking_browser()
        registrations.request_registration(
            **body, browser_hash=browser_hash, asked_in=get_language(), client=get_client()
        )
        accepted = jsonify(status="accepted")
        accepted.status_code = 202
        return accepted
    sign_in = accounts.register(**body, client=get_client(), replaces=find_browser_token())
    return _begin(sign_in)


@blueprint.route("/login", methods=["POST"])
@blueprint.response(200, SignInOutput)
@blueprint.arguments(LoginInput)
@blueprint.raises(SignInMethodOff, InvalidCredentials, TooManyGuesses, HashingBusy, OutcomeOpen)
@rate_limit("RATELIMIT_LOGIN_ADDRESS", by=address, failures_only=InvalidCredentials, when=is_our_page)
@rate_limit("RATELIMIT_LOGIN", by=account, failures_only=InvalidCredentials, when=is_our_page)
@public
def log_in(body: dict[str, Any]) -> Any:
    """Sign in; the answer to a failure is the same whatever is wrong."""
    is_remembered = body.pop("remember")
    sign_in = accounts.authenticate(
        **body,
        is_remembered=is_remembered,
        client=get_client(),
        replaces=find_browser_token(),
        account_name=choose_account_name(body["email"]),
    )
    return answer_sign_in(sign_in, is_remembered=is_remembered)


@blueprint.route("/logout", methods=["POST"])
@blueprint.response(204)
@requires(before_password_change=True)
def log_out() -> Response:
    """Sign out; the cookie stops working at once."""
    sessions.sign_out(current_user.session.id, actor=get_actor())
    end_browser_session()
    return Response(status=204)


@blueprint.route("/deletion/undo", methods=["POST"])
@blueprint.response(204)
@blueprint.raises(UserNotFound)
@requires()
def undo_deletion() -> Response:
    """Keep the caller's account, which was to be deleted after the time of grace."""
    leaving.stay(actor=get_actor())
    return Response(status=204)


@blueprint.route("/reauthenticate", methods=["POST"])
@blueprint.response(204)
@blueprint.arguments(ReauthenticateInput)
@blueprint.raises(SignInMethodOff, InvalidCredentials, TooManyGuesses, SessionNotFound, HashingBusy, OutcomeOpen)
@rate_limit("RATELIMIT_LOGIN_ADDRESS", by=address, failures_only=InvalidCredentials, when=is_our_page)
@rate_limit("RATELIMIT_LOGIN", by=own_account, failures_only=InvalidCredentials, when=is_our_page)
@requires()
def reauthenticate(body: dict[str, Any]) -> Response:
    """Give the password, or a mailed code, for calls that need it given within the last ten minutes."""
    if "code" in body:
        token = mail_sign_in.reauthenticate_by_code(**body, email=current_user.user.email, **_describe_guesser())
    else:
        token = passwords.reauthenticate(**body, **_describe_guesser())
    renew_browser_session(token)
    return Response(status=204)


@blueprint.route("/reauthenticate/mail", methods=["POST"])
@blueprint.response(202, AcceptedOutput)
@blueprint.raises(SignInMethodOff)
@rate_limit("RATELIMIT_MAIL", by=address, when=is_our_page)
@requires()
def mail_reauthentication_code() -> Any:
    """Mail the caller a code to reauthenticate with in this session."""
    caller = current_user.user
    mail_sign_in.request_reauthentication(
        user_id=caller.id, email=caller.email, session_id=current_user.session.id, asked_in=get_language()
    )
    return {"status": "accepted"}


@blueprint.route("/password/change", methods=["POST"])
@blueprint.response(204)
@blueprint.arguments(PasswordChangeInput)
@blueprint.raises(SignInMethodOff, InvalidCredentials, TooManyGuesses, SessionNotFound)
@blueprint.raises(WeakPassword, HashingBusy, OutcomeOpen)
@rate_limit("RATELIMIT_LOGIN_ADDRESS", by=address, failures_only=InvalidCredentials, when=is_our_page)
@rate_limit("RATELIMIT_LOGIN", by=own_account, failures_only=InvalidCredentials, when=is_our_page)
@requires(before_password_change=True)
def change_password(body: dict[str, Any]) -> Response:
    """Replace the password; every other session and every mailed link ends."""
    renew_browser_session(passwords.change_password(**body, **_describe_guesser(), asked_in=get_language()))
    return Response(status=204)


def _begin(sign_in: SignIn) -> SignedInUser:
    """Sign the browser in to a new account."""
    answer_sign_in(sign_in, is_remembered=False)
    return sign_in.user


def _describe_guesser() -> dict[str, Any]:
    """Return who tries the password of the session's own user, and under which name that counts."""
    return {
        "session_id": current_user.session.id,
        "actor": get_actor(),
        "account_name": choose_account_name(current_user.user.email),
    }
