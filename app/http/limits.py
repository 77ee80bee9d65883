"""Whom a limit counts, and how every process adopts the limits that an administrator changes."""

import hashlib
import logging
import threading
import time
from typing import Final

from flask import Flask, g, request
from flask_login import current_user

from app.database import DatabaseUnavailable
from app.emails import canonicalize_email
from app.extensions import limiter
from app.ratelimit import By, Caller
from app.security import choose_account_name
from app.services import ratelimits
from app.utils import MalformedBody, describe_stack

from .bodies import read_json

logger = logging.getLogger(__name__)

FOLLOW_SECONDS: Final = 2.0


def _find_account() -> str:
    try:
        body = read_json(request)
        email = body["email"] if isinstance(body, dict) else None
        return choose_account_name(canonicalize_email(email)) if isinstance(email, str) else ""
    except (MalformedBody, KeyError, ValueError):
        return ""


def _find_token() -> str:
    bearer = request.authorization
    if bearer is None or bearer.type != "bearer" or not bearer.token:
        return ""
    return hashlib.sha256(bearer.token.encode("utf-8", "surrogatepass")).hexdigest()[:32]


account: Final = By("account", _find_account)
"""The account that the body's ``email`` names, whether or not it exists.

A body that names none is refused before any password is checked.
"""

own_account: Final = By(
    account.kind, lambda: choose_account_name(current_user.user.email) if current_user.is_authenticated else ""
)
"""The account of the signed-in caller; a guess at its password counts with those made while signing in."""

user: Final = By("user", lambda: str(current_user.user.id) if current_user.is_authenticated else "")
"""The signed-in caller, by the user's id."""

token: Final = By("token", _find_token)
"""The caller's bearer token, by its hash. Made-up tokens get a counter each: use ``address`` as well."""


def find_caller() -> Caller | None:
    """Return the caller, for the limits of roles, or None; while the database is away the limits of everybody hold."""
    if "is_caller_unknown" in g:
        return None
    try:
        if not current_user.is_authenticated:
            return None
    except DatabaseUnavailable:
        # Asking again for the next limit would take as long again.
        g.is_caller_unknown = True
        return None
    return Caller(f"{user.kind}:{current_user.user.id}", frozenset(current_user.user.role_names))


def follow_changes(app: Flask) -> None:
    """Have ``app`` adopt the limits that administrators change in other processes, while requests come.

    No request waits for it: one thread at a time asks the database.
    """
    is_following = threading.Lock()
    followed_at = float("-inf")

    def follow() -> None:
        try:
            with app.app_context():
                # The store first: it needs no database.
                limiter.inspector.tell_refused()
                ratelimits.follow_changes()
        except Exception as error:  # noqa: BLE001 - a thread's error has no other reader
            # The limits stay as they are. Requests that need the database report its absence.
            logger.debug("changed rate limits could not be looked for", extra={"stack": describe_stack(error)})
        finally:
            is_following.release()

    @app.before_request
    def follow_at_times() -> None:
        nonlocal followed_at
        if time.monotonic() - followed_at >= FOLLOW_SECONDS and is_following.acquire(blocking=False):
            followed_at = time.monotonic()
            try:
                threading.Thread(target=follow, name="ratelimit-changes", daemon=True).start()
            except RuntimeError:  # no more threads for now, or the process is about to end
                is_following.release()
