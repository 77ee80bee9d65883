"""What this process decides by itself, and what it remembers so that an outage is no second chance."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from .decision import Part
from .memory import MemoryStore
from .plan import US, Charge, Fallback, Limit, Plan

DENIED_WAIT_US: Final = 1_000_000
PLANS_MAX: Final = 4096


class LocalFallback:
    """Decides in this process's memory, as one of ``workers`` processes that cannot see each other."""

    def __init__(self, memory: MemoryStore, *, default: Fallback, workers: int) -> None:
        self._memory = memory
        self._default = default
        self._workers = workers
        self._plans: dict[Plan, tuple[Plan, bool]] = {}

    def decide(self, charges: Sequence[Charge]) -> Part:
        """Take every charge, or none of them, as the limits' ``fallback`` says."""
        local = []
        for charge in charges:
            plan, is_denied = self._find_plan(charge.plan)
            if is_denied:
                row = (0.0, float(DENIED_WAIT_US), 0.0) * sum(len(other.plan.limits) for other in charges)
                return Part(charges, (1.0, float(DENIED_WAIT_US), 0.0, *row), None, is_local=True)
            local.append(charge._replace(plan=plan))
        return Part(local, self._memory.decide(local), self._memory, is_local=True)

    def _find_plan(self, plan: Plan) -> tuple[Plan, bool]:
        """Return the limits of ``plan`` that this process watches by itself, and whether the plan denies instead."""
        known = self._plans.get(plan)
        if known is None:
            words = {limit: limit.fallback or self._default for limit in plan.limits}
            watched = Plan(self._share(limit) for limit in plan.limits if words[limit] is not Fallback.ALLOW)
            known = (watched, Fallback.DENY in words.values())
            if len(self._plans) >= PLANS_MAX:
                self._plans.clear()
            self._plans[plan] = known
        return known

    def _share(self, limit: Limit) -> Limit:
        return replace(limit, amount=max(1, limit.amount // self._workers)) if limit.is_strict else limit

    def remember(self, part: Part, now: float) -> Part:
        """Count here too what a store admitted by strict limits at ``now``; return what was counted.

        A store that came back a moment ago may have lost what it knew. What it admits then has to be admitted here as
        well, so that what is returned may be a refusal.
        """
        memory, store = self._memory, part.store
        strict, longest_us = [], 0
        for charge in part.charges:
            if charge.plan.is_strict and charge.cost:
                strict.append(charge)
                longest_us = max(longest_us, charge.plan.longest_us)
        if store is not None and (now - store.reconnected_at) * US < longest_us:
            values = memory.decide(strict)
            return Part(strict, values, memory, is_local=bool(values[0]))
        stamps: list[float] = [0, 0, 0]
        for charge in strict:
            for stamp in memory.add(charge):
                stamps += (0, 0, stamp)
        return Part(strict, tuple(stamps), memory)
