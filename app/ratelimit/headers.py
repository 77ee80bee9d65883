"""What a client is told: the structured fields of the IETF draft (httpapi ratelimit headers), old names on demand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .plan import US

if TYPE_CHECKING:
    from .decision import Decision, Outcome

# Limits on refusals are no quota, and would only tell an attacker how many are left.
BLOCK_SCOPE_PREFIX: Final = "block-"


def make_headers(decision: Decision, *, has_legacy: bool = False) -> list[tuple[str, str]]:
    """Return the headers that tell ``decision``, for every limit of the request that is a quota."""
    outcomes = [
        outcome
        for part in decision.parts
        for outcome in part.outcomes
        if not outcome.limit.scope.startswith(BLOCK_SCOPE_PREFIX)
    ]
    headers = []
    if outcomes:
        policy = ", ".join(f'"{one.limit.name}";q={one.limit.amount};w={one.limit.window_us // US}' for one in outcomes)
        state = ", ".join(f'"{one.limit.name}";r={one.remaining};t={one.reset_seconds}' for one in outcomes)
        headers = [("RateLimit-Policy", policy), ("RateLimit", state)]
        if has_legacy:
            headers += _make_legacy_headers(min(outcomes, key=lambda one: (one.remaining, -one.reset_us)))
    if not decision.is_admitted:
        headers.append(("Retry-After", str(decision.retry_after_seconds)))
    return headers


def _make_legacy_headers(tightest: Outcome) -> list[tuple[str, str]]:
    return [
        ("X-RateLimit-Limit", str(tightest.limit.amount)),
        ("X-RateLimit-Remaining", str(tightest.remaining)),
        ("X-RateLimit-Reset", str(tightest.reset_seconds)),
    ]
