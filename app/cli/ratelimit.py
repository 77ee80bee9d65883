"""``ratelimit``: what the rate limiter has counted."""

from __future__ import annotations

import json

import click

from app.emails import canonicalize_email
from app.extensions import get_settings
from app.security import Actor
from app.services import throttles

from .terminal import Failure, OperatorGroup, Report

ratelimit_group = OperatorGroup("ratelimit", help="See and clear what throttles an account or an address.")


@ratelimit_group.command("show")
@click.argument("key")
def show(key: str) -> Report:
    """Show what is counted under KEY, such as account:ada@example.com."""
    key = _read_key(key)
    counted = throttles.show(key)
    lines = [f"{name}: {value}" for name, value in counted.items()] if isinstance(counted, dict) else []
    data = json.loads(json.dumps(counted, default=str))
    return Report({"key": key, "counted": data}, lines or [f"Nothing is counted for {key}."])


@ratelimit_group.command("clear")
@click.argument("key")
def clear(key: str) -> Report:
    """Forget what is counted under KEY, such as account:ada@example.com."""
    key = _read_key(key)
    throttles.clear(key, actor=Actor.system())
    return Report({"key": key, "cleared": True}, [f"Nothing is counted for {key} any more."])


def _read_key(key: str) -> str:
    if get_settings().ratelimit_storage_uri.startswith("memory:"):
        raise Failure(
            "The counts of memory:// live inside each server process, where this command cannot reach them."
            " Restart the server to clear them, or set RATELIMIT_STORAGE_URI."
        )
    kind, _, rest = key.partition(":")
    if not rest:
        raise Failure("KEY has the form KIND:WHO, such as account:ada@example.com.")
    if kind == "account":
        try:
            return f"{kind}:{canonicalize_email(rest)}"
        except ValueError as error:
            raise Failure(f"{rest} is no e-mail address.") from error
    return key
