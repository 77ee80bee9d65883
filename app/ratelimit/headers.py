"""What a client is told: the structured fields of the IETF draft (httpapi ratelimit headers), old names on demand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .decision import LIMIT_FIELDS, US
from .plan import ChargeKind

if TYPE_CHECKING:
    from .decision import Decision, Outcome


def make_headers(decision: Decision, *, has_legacy: bool = False) -> list[tuple[str, str]]:
    """Return the headers that tell ``decision``, for every limit of the request that is a quota.

    Limits on refusals are no quota, and would only tell an attacker how many are left.
    """
    policies, states = [], []
    for part in decision.parts:
        for charge, values in part.slices():
            plan = charge.plan
            if charge.kind is not ChargeKind.BLOCK and plan.limits:
                policies.append(plan.policy_text)
                numbers = [
                    int(number)
                    for place in range(0, len(values), LIMIT_FIELDS)
                    for number in (values[place], -(-values[place + 1] // US))
                ]
                states.append(plan.state_template % tuple(numbers))
    headers = []
    if policies:
        headers = [("RateLimit-Policy", ", ".join(policies)), ("RateLimit", ", ".join(states))]
        if has_legacy:
            headers += _make_legacy_headers(decision.outcomes)
    if not decision.is_admitted:
        headers.append(("Retry-After", str(decision.retry_after_seconds)))
    return headers


def _make_legacy_headers(outcomes: list[Outcome]) -> list[tuple[str, str]]:
    """Return the old headers for the tightest limit: the fewest left, and of these the latest to come back."""
    tightest = min(outcomes, key=lambda one: (one.remaining, -one.reset_us))
    return [
        ("X-RateLimit-Limit", str(tightest.limit.amount)),
        ("X-RateLimit-Remaining", str(tightest.remaining)),
        ("X-RateLimit-Reset", str(tightest.reset_seconds)),
    ]
