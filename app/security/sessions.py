"""The browser's half of a session: its cookie, and the CSRF token that belongs to the cookie."""

from typing import Final

from flask import Flask, current_app, request, session
from flask_login import logout_user
from flask_wtf.csrf import generate_csrf, validate_csrf
from wtforms import ValidationError

from app.extensions import BROWSER_KEY
from app.utils import Forbidden

from .guards import find_guard

CSRF_HEADER: Final = "X-CSRF-Token"
_VERDICT: Final = "gatehouse.is_our_page"
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class CsrfFailed(Forbidden):
    """A state-changing call came without the session's CSRF token."""

    title = "CSRF token missing or wrong"
    detail = f"Send the token of GET /api/v1/auth/csrf in the header {CSRF_HEADER}."


def start_browser_session(token: str, *, is_remembered: bool) -> str:
    """Put the session's ``token`` into a new cookie and return its CSRF token.

    Nothing of the former cookie survives, which defeats session fixation.
    """
    session.clear()
    session[BROWSER_KEY] = token
    session.permanent = is_remembered
    return make_csrf_token()


def renew_browser_session(token: str) -> None:
    """Put the same session's new ``token`` into the cookie; the CSRF token stays the same."""
    session[BROWSER_KEY] = token


def find_browser_token() -> str | None:
    """Return the token of the session that the cookie carries, or None."""
    token: str | None = None if carries_bearer() else session.get(BROWSER_KEY)
    return token


def end_browser_session() -> None:
    """Forget everything in the cookie."""
    logout_user()
    session.clear()


def make_csrf_token() -> str:
    """Return the CSRF token of this cookie's session, made now if it has none."""
    token: str = generate_csrf()
    return token


def carries_bearer() -> bool:
    """Say whether the request authenticates by a header: then its cookies are ignored."""
    return request.authorization is not None and request.authorization.type == "bearer"


def protect_from_csrf() -> None:
    """Refuse a state-changing request whose cookie may have been sent by another site's page.

    Raises:
        CsrfFailed: the header is missing or belongs to another session.
    """
    if request.method not in _SAFE_METHODS and not is_our_page():
        raise CsrfFailed


def is_our_page() -> bool:
    """Say whether CSRF protection lets the request pass; checked once, although limits ask too."""
    verdict: bool | None = request.environ.get(_VERDICT)
    if verdict is None:
        verdict = request.environ[_VERDICT] = _carries_csrf_token()
    return verdict


def _carries_csrf_token() -> bool:
    """Say whether the request carries its session's CSRF token, or needs none."""
    if request.method in _SAFE_METHODS or request.endpoint is None or carries_bearer():
        return True
    guard = find_guard(current_app.view_functions[request.endpoint])
    has_cookie = current_app.config["SESSION_COOKIE_NAME"] in request.cookies
    if not has_cookie and guard is not None and not guard.is_public:
        return True  # There is no session to ride on, and the guard will say so.
    presented = request.headers.get(CSRF_HEADER, "")
    return any(_is_csrf_token(presented, key) for key in list_signing_keys(current_app))


def _is_csrf_token(presented: str, key: str) -> bool:
    try:
        validate_csrf(presented, secret_key=key)
    except ValidationError:
        return False
    return True


def list_signing_keys(app: Flask) -> list[str]:
    """Return the key that signs, then the former ones, which still verify."""
    return [app.config["SECRET_KEY"], *app.config["SECRET_KEY_FALLBACKS"]]
