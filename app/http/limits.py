"""Whom a limit counts: the account that a sign-in aims at, apart for each browser that the account knows."""

from __future__ import annotations

from flask import request
from flask_login import current_user

from app.emails import canonicalize_email
from app.security import choose_account_name
from app.utils import MalformedBody

from .bodies import parse_json


def account() -> str:
    """Return the name of the account that the body's ``email`` names, whether or not there is one.

    It is empty where the body names none: that is refused without a look at any password.
    """
    try:
        body = parse_json(request.get_data(cache=True))
        email = body["email"] if isinstance(body, dict) else None
        return choose_account_name(canonicalize_email(email)) if isinstance(email, str) else ""
    except (MalformedBody, KeyError, ValueError):
        return ""


def own_account() -> str:
    """Return the name of the caller's own account: guesses by whoever holds a session count with all others.

    It is empty where nobody is signed in: the guard refuses that.
    """
    return choose_account_name(current_user.user.email) if current_user.is_authenticated else ""


# The limiter counts by this name and what the function returns: a guess is a guess, wherever it is made.
own_account.__name__ = account.__name__
