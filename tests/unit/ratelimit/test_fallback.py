"""What a process decides by itself while the store is away, and what it remembers for that."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from app.ratelimit import Charge, Fallback, Limit, Plan
from app.ratelimit import fallback as module
from app.ratelimit.decision import Part
from app.ratelimit.fallback import LocalFallback
from app.ratelimit.memory import MemoryStore

HOUR_US = 3_600_000_000
STRICT = Plan([Limit(8, HOUR_US, "strict", is_strict=True)])
PLAIN = Plan([Limit(8, HOUR_US, "plain")])


def count_admitted(fallback: LocalFallback, plan: Plan) -> int:
    """Return how many of twenty charges are taken."""
    return sum(not fallback.decide([Charge(plan, "bob")]).values[0] for _ in range(20))


def make_part(charge: Charge, *, reconnected_at: float = float("-inf")) -> Part:
    """Return what a store that was reached again at this time says when it takes the charge."""
    store: Any = SimpleNamespace(reconnected_at=reconnected_at)
    return Part([charge], (0, 0, 0, 5, HOUR_US, 1), store)


def test_each_process_grants_its_share_of_a_strict_limit_and_all_of_another() -> None:
    fallback = LocalFallback(MemoryStore(), default=Fallback.LOCAL, workers=4)
    assert count_admitted(fallback, STRICT) == 2
    assert count_admitted(fallback, PLAIN) == 8


@pytest.mark.parametrize(
    ("own", "default", "admitted"),
    [
        (Fallback.DENY, Fallback.LOCAL, 0),
        (Fallback.ALLOW, Fallback.DENY, 20),
        (Fallback.LOCAL, Fallback.ALLOW, 8),
        (None, Fallback.DENY, 0),
    ],
)
def test_a_limit_s_own_word_for_an_outage_goes_before_the_common_one(
    own: Fallback | None, default: Fallback, admitted: int
) -> None:
    fallback = LocalFallback(MemoryStore(), default=default, workers=1)
    assert count_admitted(fallback, Plan([Limit(8, HOUR_US, fallback=own)])) == admitted


def test_plans_beyond_the_bound_are_found_out_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PLANS_MAX", 3)
    fallback = LocalFallback(MemoryStore(), default=Fallback.LOCAL, workers=4)
    for number in range(20):
        assert count_admitted(fallback, Plan([Limit(8, HOUR_US, f"of {number}", is_strict=True)])) == 2
    assert len(fallback._plans) <= 3


def test_only_what_a_strict_limit_charged_is_remembered() -> None:
    memory = MemoryStore()
    fallback = LocalFallback(memory, default=Fallback.LOCAL, workers=1)
    for charge in (Charge(PLAIN, "bob"), Charge(STRICT, "bob", cost=0)):
        fallback.remember(make_part(charge), now=0)
    assert len(memory) == 0
    fallback.remember(make_part(Charge(STRICT, "bob", cost=3)), now=0)
    assert memory.show("bob") == {"strict:3600:e": 3}


@pytest.mark.parametrize(("seconds_ago", "is_refused"), [(1, True), (3599, True), (3601, False)])
def test_a_store_that_came_back_within_the_window_admits_no_more_than_this_process_does(
    seconds_ago: int, *, is_refused: bool
) -> None:
    fallback = LocalFallback(MemoryStore(), default=Fallback.LOCAL, workers=1)
    fallback.remember(make_part(Charge(STRICT, "bob", cost=8)), now=0)
    again = make_part(Charge(STRICT, "bob"), reconnected_at=5000 - seconds_ago)
    own = fallback.remember(again, now=5000)
    assert bool(own.values[0]) is own.is_local is is_refused
