"""What routes are limited with: decorators for views and blueprints, and the caller's IP address."""

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from flask import Blueprint, request

from app.utils import AppError

from .plan import Fallback
from .rules import ADDRESS, By, Rule
from .subject import normalize_ip

_RULES: Final = "__rate_limits__"
_EXEMPT: Final = "__rate_limit_exempt__"

Target = TypeVar("Target", bound="Callable[..., Any] | Blueprint")


def _find_address() -> str:
    return normalize_ip(request.remote_addr or "")


address: Final = By(ADDRESS, _find_address)
"""The caller's IP address: an IPv4 address, or an IPv6 address' /64."""


def rate_limit(
    limits: str | Callable[[], str],
    *,
    by: By | Sequence[By] = address,
    cost: int | Callable[[], int] = 1,
    scope: str | None = None,
    when: Callable[[], bool] | None = None,
    failures_only: bool | type[AppError] = False,
    shadow: bool = False,
    fallback: Fallback | str | None = None,
    strict: bool = False,
    block: str | None = None,
) -> Callable[[Target], Target]:
    """Limit a view, or every view of a blueprint. Several may stand above one another; all have to admit the request.

    Args:
        limits: ``"10/minute;100/hour"``, the name of a setting such as ``"RATELIMIT_LOGIN"``, or a function that
            returns a notation for each request (such as the most generous of the caller's roles).
        by: whom a request counts against, one kind or several. Several are decided together, all or nothing.
        cost: how many units a request takes.
        scope: the name of the counters; rules of one scope share them. The default is the setting, or the endpoint.
        when: whether the rule applies to this request.
        failures_only: charge first and give back what does not fail: an answer from 400 on is a failure, or, where an
            error is named, that error alone. Who is refused while the outcome of others is open waits for it a little.
            Implies ``strict``.
        shadow: only count what would have been refused.
        fallback: what decides while the store is away, if not ``RATELIMIT_FALLBACK``.
        strict: hold through an outage: each process then grants only its share of what is left.
        block: limits on refusals, such as ``"10/hour;30/day"``: who is refused more often is refused altogether until
            the refusals have left their window.

    Raises:
        LimitError: a notation is malformed.
    """
    rule = Rule(
        limits=limits,
        by=(by,) if isinstance(by, By) else tuple(by),
        cost=cost,
        scope=scope,
        when=when,
        failures_only=failures_only,
        is_shadow=shadow,
        fallback=Fallback(fallback) if isinstance(fallback, str) else fallback,
        is_strict=strict,
        block=block,
    )

    def decorate(target: Target) -> Target:
        setattr(target, _RULES, (rule, *get_rules(target)))
        return target

    return decorate


def exempt(target: Target) -> Target:
    """Free a view, or a blueprint, from the default limits; limits of its own still hold."""
    setattr(target, _EXEMPT, True)
    return target


def get_rules(target: object) -> tuple[Rule, ...]:
    """Return the rules that decorators gave to a view, its class or method, or a blueprint."""
    return getattr(target, _RULES, ())


def is_exempt(target: object) -> bool:
    """Say whether a view, its class or method, or a blueprint is free from the default limits."""
    return getattr(target, _EXEMPT, False)
