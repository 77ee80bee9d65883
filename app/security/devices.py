"""Device cookies: a browser that signed in to an account before has its own budget of guesses at its password.

Guesses from unknown browsers use up a budget that these share, so that the account's owner can still sign in. The
cookie signs nobody in. Source: OWASP, "Slow Down Online Guessing Attacks with Device Cookies"; the design:
docs/adr/0006-sign-in-limits.md.
"""

import hashlib
import secrets
from typing import Final

from flask import Response, after_this_request, current_app, request
from itsdangerous import BadData, URLSafeTimedSerializer

from .sessions import carries_bearer, list_signing_keys
from .signatures import Signer

# Browsers keep a cookie for at most 400 days; every sign-in sets it again.
DEVICE_SECONDS: Final = 365 * 24 * 3600
# An account's devices share this many budgets: few enough to clear all, and enough that two devices rarely share one.
SLOTS: Final = 16
_ID_BYTES: Final = 16


def list_account_keys(email: str) -> list[str]:
    """Return all keys that count guesses at the account's password, that of unknown browsers first."""
    return [f"account:{name}" for name in list_account_names(email)]


def list_account_names(email: str) -> list[str]:
    """Return all that ``choose_account_name`` may return for the account."""
    return [email, *(f"{email}/device-{slot}" for slot in range(SLOTS))]


def choose_account_name(email: str) -> str:
    """Return the name, within ``account:``, of the key that counts this request's guess at the account's password.

    It is a device's if the browser presents a cookie signed for the account, otherwise that of unknown browsers,
    whether or not the account exists.
    """
    unknown, *devices = list_account_names(email)
    device = None if carries_bearer() else _find_device(email)
    return unknown if device is None else devices[hashlib.sha256(device.encode()).digest()[0] % SLOTS]


def remember_device(email: str) -> None:
    """Set a cookie in the current answer that marks the browser as one that signed in to the account."""
    # A device keeps its id, so that signing in does not earn a new budget.
    device = _find_device(email) or secrets.token_urlsafe(_ID_BYTES)
    value = _make_serializer(email).dumps(device)

    @after_this_request
    def set_cookie(response: Response) -> Response:
        response.set_cookie(
            _get_cookie_name(),
            value,
            max_age=DEVICE_SECONDS,
            secure=current_app.config["SESSION_COOKIE_SECURE"],
            httponly=True,
            samesite="Lax",
        )
        return response


def forget_device() -> None:
    """Delete the browser's device cookie with the current answer."""

    @after_this_request
    def delete_cookie(response: Response) -> Response:
        response.delete_cookie(
            _get_cookie_name(), secure=current_app.config["SESSION_COOKIE_SECURE"], httponly=True, samesite="Lax"
        )
        return response


def _find_device(email: str) -> str | None:
    """Return the id in the browser's cookie, if it was signed for this account and has not expired."""
    try:
        device = _make_serializer(email).loads(request.cookies.get(_get_cookie_name(), ""), max_age=DEVICE_SECONDS)
    except BadData:
        return None
    return device if isinstance(device, str) else None


def _make_serializer(email: str) -> URLSafeTimedSerializer:
    # The e-mail address is part of the key: in the cookie, the computer's next user could read it.
    return URLSafeTimedSerializer(
        list_signing_keys(current_app)[::-1],  # the last one signs
        signer=Signer,
        salt=f"gatehouse device cookie of {email}",
        signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
    )


def _get_cookie_name() -> str:
    return "__Host-device" if current_app.config["SESSION_COOKIE_SECURE"] else "device"
