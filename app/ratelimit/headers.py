"""What a client is told: the structured fields of the IETF draft (httpapi ratelimit headers), old names on demand."""

from typing import Final

from .decision import Decision, Outcome
from .plan import US, ChargeKind
from .store import LIMIT_FIELDS

_QUOTAS: Final = frozenset({ChargeKind.LASTING, ChargeKind.PROVISIONAL})


def make_headers(decision: Decision, *, has_legacy: bool = False, is_given_back: bool = False) -> list[tuple[str, str]]:
    """Return the headers that tell ``decision``, for every limit of the request that is a quota.

    Limits on refusals are no quota, and would only tell an attacker how many are left. What was charged
    provisionally and ``is_given_back`` is there again.
    """
    policies, states = [], []
    outcomes: list[Outcome] = []
    for part in decision.parts:
        for charge, values in part.slices():
            plan = charge.plan
            if charge.kind not in _QUOTAS or not plan.limits:
                continue
            is_back = is_given_back and charge.kind is ChargeKind.PROVISIONAL and decision.is_admitted
            back = charge.cost if is_back else 0
            numbers: list[float] = []
            for place in range(0, len(values), LIMIT_FIELDS):
                numbers += (values[place] + back, -(-values[place + 1] // US))
            policies.append(plan.policy_text)
            states.append(plan.state_template % tuple(numbers))
            if has_legacy:
                places = zip(plan.limits, range(0, len(values), LIMIT_FIELDS), strict=True)
                outcomes += [
                    Outcome(limit, int(values[place]) + back, int(values[place + 1])) for limit, place in places
                ]
    headers = []
    if policies:
        headers = [("RateLimit-Policy", ", ".join(policies)), ("RateLimit", ", ".join(states))]
        if has_legacy:
            headers += _make_legacy_headers(outcomes)
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
