"""``ratelimit``: the limits, and what they have counted."""

import click

from app.extensions import get_settings
from app.schemas import HeldOutput, RateLimitChangeInput, RateLimitOutput
from app.security import Actor
from app.services import ratelimits
from app.services.ratelimits import RateLimitState

from .terminal import Failure, OperatorGroup, Report, load, make_table

ratelimit_group = OperatorGroup("ratelimit", help="Show and change limits, show and clear what they have counted.")


@ratelimit_group.command("list")
def list_() -> Report:
    """List the limits in force, and what the settings say."""
    found = ratelimits.list_limits()
    rows = [
        (limit.name, role, text, limit.configured if role == "" else "")
        for limit in found
        for role, text in [("", limit.limits), *sorted(limit.by_role.items())]
    ]
    return Report(
        [RateLimitOutput().dump(limit) for limit in found], make_table(("NAME", "ROLE", "LIMITS", "CONFIGURED"), rows)
    )


@ratelimit_group.command("set")
@click.argument("name")
@click.argument("limits")
@click.option("--role", help="Change it only for users with this role.")
def set_(name: str, limits: str, role: str | None) -> Report:
    """Set the limits of NAME to LIMITS, such as "10/minute;100/hour"; running servers follow within seconds."""
    fields = load(RateLimitChangeInput(), {"roles": {role: limits}} if role else {"limits": limits})
    return _report(ratelimits.change_limit(name, **fields, actor=Actor.system()))


@ratelimit_group.command("reset")
@click.argument("name")
@click.option("--role", help="Only for users with this role.")
def reset(name: str, role: str | None) -> Report:
    """Reset the limits of NAME to what the settings say."""
    if role is None:
        return _report(ratelimits.reset_limit(name, actor=Actor.system()))
    fields = load(RateLimitChangeInput(), {"roles": {role: None}})
    return _report(ratelimits.change_limit(name, **fields, actor=Actor.system()))


@ratelimit_group.command("show")
@click.argument("key")
def show(key: str) -> Report:
    """Show what is counted under KEY, such as account:ada@example.com."""
    _refuse_memory()
    held = ratelimits.show(key)
    table = make_table(("KEY", "LIMIT", "UNITS"), [(row.subject, row.limit, str(row.units)) for row in held])
    counted = [HeldOutput().dump(row) for row in held]
    return Report({"key": key, "counted": counted}, table if held else [f"Nothing is counted for {key}."])


@ratelimit_group.command("clear")
@click.argument("key")
def clear(key: str) -> Report:
    """Clear what is counted under KEY, such as account:ada@example.com."""
    _refuse_memory()
    ratelimits.clear(key, actor=Actor.system())
    return Report({"key": key, "cleared": True}, [f"Nothing is counted for {key} any more."])


def _report(limit: RateLimitState) -> Report:
    of_roles = [f"  {role}: {text}" for role, text in sorted(limit.by_role.items())]
    return Report(RateLimitOutput().dump(limit), [f"{limit.name}: {limit.limits}", *of_roles])


def _refuse_memory() -> None:
    if get_settings().ratelimit_storage_uri.kind == "memory":
        raise Failure(
            "The counts of memory:// live inside each server process, where this command cannot reach them."
            " Restart the server to clear them, or set RATELIMIT_STORAGE_URI."
        )
