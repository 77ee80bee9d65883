"""The browser that asked for a mail, known again by a random cookie: what signs in works there alone."""

import re
from typing import Final

from flask import Response, after_this_request, current_app, request

from app.extensions import get_settings

from .sessions import carries_bearer
from .tokens import hash_token, make_token

_VALUE: Final = re.compile(r"[A-Za-z0-9_-]{43}")


def mark_asking_browser() -> str:
    """Set the cookie with the current answer and return its hash; a browser keeps the one that it has.

    So a link that was asked for before still works where a later mail is not sent.
    """
    value = _find_value() or make_token()

    @after_this_request
    def set_cookie(response: Response) -> Response:
        response.set_cookie(
            _get_cookie_name(),
            value,
            max_age=max(get_settings().mail_sign_in_lifetime, get_settings().verification_lifetime),
            secure=current_app.config["SESSION_COOKIE_SECURE"],
            httponly=True,
            samesite="Lax",
        )
        return response

    return hash_token(value)


def find_asking_browser() -> str | None:
    """Return the hash of the browser's cookie, or None."""
    value = _find_value()
    return None if value is None else hash_token(value)


def forget_asking_browser() -> None:
    """Delete the cookie with the current answer."""

    @after_this_request
    def delete_cookie(response: Response) -> Response:
        response.delete_cookie(
            _get_cookie_name(), secure=current_app.config["SESSION_COOKIE_SECURE"], httponly=True, samesite="Lax"
        )
        return response


def _find_value() -> str | None:
    value = request.cookies.get(_get_cookie_name(), "")
    return value if not carries_bearer() and _VALUE.fullmatch(value) else None


def _get_cookie_name() -> str:
    return "__Host-asking" if current_app.config["SESSION_COOKIE_SECURE"] else "asking"
