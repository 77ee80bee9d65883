"""Device cookies: a browser that signed in to an account before has a budget of its own for guesses at its password.

Whoever guesses at an account from elsewhere uses up the strangers' budget only, so that its owner can still sign in.
The cookie signs nobody in; without it a caller is a stranger, no more. Source: OWASP, "Slow Down Online Guessing
Attacks with Device Cookies"; why it looks as it does: docs/adr/0006-sign-in-limits.md.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING, Final

from flask import after_this_request, current_app, request
from itsdangerous import BadData, URLSafeTimedSerializer

from .sessions import carries_bearer, list_signing_keys
from .signatures import Signer

if TYPE_CHECKING:
    from flask import Response

# Browsers keep no cookie longer than 400 days; signing in sets it anew.
DEVICE_SECONDS: Final = 365 * 24 * 3600
# An account's devices share so many budgets: few enough to clear them all, enough that hardly two devices meet.
SLOTS: Final = 16
_ID_BYTES: Final = 16


def list_account_keys(email: str) -> list[str]:
    """Return all the keys that guesses at the account's password are counted under, the strangers' first."""
    return [f"account:{name}" for name in _list_names(email)]


def choose_account_name(email: str) -> str:
    """Return the name, within ``account:``, that the current request's guess at the account's password counts under.

    Whether or not there is such an account: its device's, where the browser presents a cookie that was signed for the
    account, the strangers' otherwise.
    """
    strangers, *devices = _list_names(email)
    device = None if carries_bearer() else _find_device(email)
    return strangers if device is None else devices[hashlib.sha256(device.encode()).digest()[0] % SLOTS]


def remember_device(email: str) -> None:
    """Let the answer to the current request mark the browser as one that signed in to the account."""
    # A device keeps its id, so that signing in is no way to a new budget.
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
    """Let the answer to the current request take the browser's mark away."""

    @after_this_request
    def delete_cookie(response: Response) -> Response:
        response.delete_cookie(
            _get_cookie_name(), secure=current_app.config["SESSION_COOKIE_SECURE"], httponly=True, samesite="Lax"
        )
        return response


def _list_names(email: str) -> list[str]:
    return [email, *(f"{email}/device-{slot}" for slot in range(SLOTS))]


def _find_device(email: str) -> str | None:
    """Return the id in the browser's cookie, if that was signed for this account and is not too old."""
    try:
        device = _make_serializer(email).loads(request.cookies.get(_get_cookie_name(), ""), max_age=DEVICE_SECONDS)
    except BadData:
        return None
    return device if isinstance(device, str) else None


def _make_serializer(email: str) -> URLSafeTimedSerializer:
    # The account is part of the key and not of the cookie, where whoever uses the computer next could read it.
    return URLSafeTimedSerializer(
        list_signing_keys(current_app)[::-1],  # the last one signs
        signer=Signer,
        salt=f"gatehouse device cookie of {email}",
        signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
    )


def _get_cookie_name() -> str:
    return "__Host-device" if current_app.config["SESSION_COOKIE_SECURE"] else "device"
