"""What the stores are held against: every charge in a list, every answer by counting."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from app.ratelimit.plan import US, Charge, Limit, Plan, make_limit
from app.ratelimit.store import HEAD_FIELDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.ratelimit.store import Values

# Beyond every window, so that nothing has left before anything came.
START_US = 1_800_000_000 * US

PLANS = (
    Plan([make_limit(3, seconds=60, scope="a")]),
    Plan([make_limit(2, seconds=60, scope="b"), make_limit(5, seconds=600, scope="b")]),
    Plan([Limit(4, 60 * US, "c", 600_000), make_limit(9, seconds=3600, scope="c")]),
    Plan([Limit(6, 100 * US, "d", 10 * US), Limit(20, 1000 * US, "d", 10 * US)]),
    Plan([make_limit(3, seconds=60, scope="a"), make_limit(7, seconds=300, scope="a")]),
)
SUBJECTS = ("address:192.0.2.1", "account: }{ ü")


@dataclass
class Entry:
    """One admitted charge on one limit."""

    key: tuple[str, str]
    unit_instants: list[int]
    bucket: int
    cost: int


@dataclass
class Model:
    """Sliding windows by the letter: slow, plain, and without a single optimization."""

    entries: list[Entry] = field(default_factory=list)

    def leaving_instants(self, limit: Limit, subject: str) -> list[int]:
        """Return when each counted unit leaves its window, in order."""
        instants: list[int] = []
        for entry in self.entries:
            if entry.key == (subject, limit.key):
                if limit.bucket_us:
                    instants += [(entry.bucket + 1) * limit.bucket_us + limit.window_us] * entry.cost
                else:
                    instants += [unit + limit.window_us for unit in entry.unit_instants]
        return sorted(instants)

    def decide(self, charges: Sequence[Charge], now: int) -> tuple[int, int, list[tuple[int, int]], list[Entry]]:
        """Return the place that refused, the wait, (remaining, reset) of each limit, and what was taken."""
        rows = [
            (charge, limit, [at for at in self.leaving_instants(limit, charge.subject) if at > now])
            for charge in charges
            for limit in charge.plan.limits
        ]
        refused, wait = 0, 0
        for place, (charge, limit, leaving) in enumerate(rows, start=1):
            surplus = len(leaving) + charge.cost - limit.amount
            if surplus > 0:
                longest = limit.window_us if charge.cost > limit.amount else leaving[surplus - 1] - now
                if longest > wait:
                    refused, wait = place, longest
        taken: list[Entry] = []
        answers = []
        for charge, limit, leaving in rows:
            count = len(leaving)
            if not refused and charge.cost:
                taken.append(self.take(charge, limit, now))
                count += charge.cost
                now_leaving = [at for at in self.leaving_instants(limit, charge.subject) if at > now]
            else:
                now_leaving = leaving
            reset = now_leaving[0] - now if now_leaving else 0
            answers.append((max(0, limit.amount - count), reset))
        return refused, wait, answers, taken

    def take(self, charge: Charge, limit: Limit, now: int) -> Entry:
        """Count a charge that was admitted."""
        key = (charge.subject, limit.key)
        units = [
            unit
            for entry in self.entries
            if entry.key == key
            for unit in entry.unit_instants
            if unit + limit.window_us > now
        ]
        first = now
        if units and (charge.cost > 1 or now in units):
            first = max(now, max(units) + 1)
        bucket, instants = 0, [first + place for place in range(charge.cost)]
        if limit.bucket_us:
            # A bucket holds a number of units: none of them was moved to a microsecond of its own, beyond its end.
            bucket, instants = now // limit.bucket_us, [now] * charge.cost
        entry = Entry(key, instants, bucket, charge.cost)
        self.entries.append(entry)
        return entry


class ClockedStore(Protocol):
    """What the model is compared with."""

    def decide(self, charges: Sequence[Charge]) -> Values: ...

    def refund(self, charges: Sequence[Charge], stamps: Sequence[float]) -> None: ...


class StoreMachine(RuleBasedStateMachine):
    """Drive a store and the model side by side; every answer has to be the same, to the microsecond."""

    def make_store(self) -> ClockedStore:
        """Return an empty store whose clock is ``self.now``."""
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.now = START_US
        self.plans: list[Plan] = []
        self.store = self.make_store()
        self.model = Model()
        self.admitted: list[tuple[list[Charge], Values, list[Entry]]] = []

    @initialize(plans=st.lists(st.sampled_from(PLANS), min_size=1, max_size=2, unique=True))
    def begins_with_few_plans(self, plans: list[Plan]) -> None:
        """Draw from few plans in one run, so that its windows fill and empty many times."""
        self.plans = plans

    @rule(step_us=st.one_of(st.integers(0, 3), st.integers(0, 30 * US), st.integers(0, 120 * US), st.just(4000 * US)))
    def time_passes(self, step_us: int) -> None:
        self.now += step_us

    @rule(subject=st.sampled_from(SUBJECTS), data=st.data())
    def time_comes_to_an_edge(self, subject: str, data: st.DataObject) -> None:
        """Go to the microsecond, or one beside it, at which a unit leaves its window."""
        edges = sorted(
            {at for plan in self.plans for limit in plan.limits for at in self.model.leaving_instants(limit, subject)}
        )
        edges = [at for at in edges if at > self.now + 1]
        if edges:
            self.now = data.draw(st.sampled_from(edges[:6])) + data.draw(st.integers(-1, 1))

    @rule(
        places=st.lists(st.integers(0, 1), min_size=1, max_size=2),
        subjects=st.lists(st.sampled_from(SUBJECTS), min_size=2, max_size=2, unique=True),
        cost=st.sampled_from((1, 1, 1, 0, 2, 3, 7)),
    )
    def decides_as_the_model_does(
        self,
        places: list[int],
        subjects: list[str],
        cost: int,
    ) -> None:
        plans = [self.plans[place % len(self.plans)] for place in places]
        charges = [Charge(plan, subject, cost) for plan, subject in zip(plans, subjects, strict=False)]
        refused, wait, answers, taken = self.model.decide(charges, self.now)
        values = self.store.decide(charges)
        assert (values[0], values[1]) == (refused, wait)
        firsts = range(HEAD_FIELDS, len(values), 3)
        assert [(values[place], values[place + 1]) for place in firsts] == answers
        if taken:
            self.admitted.append((charges, values, taken))

    @precondition(lambda self: self.admitted)
    @rule(data=st.data())
    def gives_back_exactly_what_was_taken(self, data: st.DataObject) -> None:
        place = data.draw(st.integers(0, len(self.admitted) - 1))
        charges, values, taken = self.admitted.pop(place)
        # What has left its window may be gone: giving it back changes nothing, and takes nobody else's units.
        self.store.refund(charges, values[HEAD_FIELDS + 2 :: 3])
        self.model.entries = [entry for entry in self.model.entries if not any(entry is gone for gone in taken)]

    @invariant()
    def never_more_than_the_limit(self) -> None:
        for subject in SUBJECTS:
            for plan in self.plans:
                for limit in plan.limits:
                    units = [
                        unit
                        for entry in self.model.entries
                        if entry.key == (subject, limit.key)
                        for unit in entry.unit_instants
                        if unit > self.now - limit.window_us
                    ]
                    assert len(units) <= limit.amount
