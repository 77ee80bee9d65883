"""Whom a limit counts: the account that a sign-in aims at."""

from __future__ import annotations

from flask import request
from flask_login import current_user

from app.emails import canonicalize_email
from app.utils import MalformedBody

from .bodies import parse_json


def account() -> str:
    """Return the account that the body's ``email`` names, whether or not there is one."""
    try:
        body = parse_json(request.get_data(cache=True))
        return f"account:{canonicalize_email(body['email'])}"
    except (MalformedBody, KeyError, TypeError, ValueError):
        return ""


def own_account() -> str:
    """Return the caller's own account: guesses by whoever holds a session count with those of everybody else."""
    return f"account:{current_user.user.email}" if current_user.is_authenticated else ""
