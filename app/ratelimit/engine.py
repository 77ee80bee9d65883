"""The engine: one decision for all limits of a request, whatever becomes of the store."""

from __future__ import annotations

import contextlib
import os
import time
import weakref
from typing import TYPE_CHECKING, Final

from .arrears import Arrears, Entry
from .cluster import ClusterTransport
from .decision import HEAD_FIELDS, LIMIT_FIELDS, Decision, Part, StoreAwayError
from .inspection import Inspector
from .memory import MAX_WINDOWS_DEFAULT, MemoryStore, monotonic_us
from .node import Node
from .plan import US, Charge, ChargeKind, Fallback, Plan
from .refusals import RefusalCache, RefusalTally
from .scripts import pack_decide, pack_merge, read_values
from .storage_uri import MEMORY, StorageUri
from .transport import SentinelTransport, SingleTransport, Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .link import Link

BUDGET_MS_DEFAULT: Final = 25
# What is left of the budget pays for the decision in memory that follows a silent store, and for the scheduler.
STORE_SHARE_OF_BUDGET: Final = 0.7
DENIED_WAIT_US: Final = 1_000_000
TRANSPORTS: Final[dict[str, Callable[..., Transport]]] = {
    "single": SingleTransport,
    "unix": SingleTransport,
    "sentinel": SentinelTransport,
    "cluster": ClusterTransport,
}

_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


class Engine:
    """Decides whether a request may go on, within a budget of time.

    A lost store must not lock everyone out and must not open the gate either: each process goes on with windows of its
    own, and tells the store of them when it is back. Safe to share between threads, and across a fork.
    """

    def __init__(
        self,
        storage: StorageUri = MEMORY,
        *,
        budget_ms: float = BUDGET_MS_DEFAULT,
        fallback: Fallback = Fallback.LOCAL,
        workers: int = 1,
        max_windows: int = MAX_WINDOWS_DEFAULT,
        on_change: Callable[[bool], None] = lambda _is_degraded: None,
    ) -> None:
        """Decide in ``storage``; ``on_change`` is told when the engine becomes degraded, and when it recovers.

        Nothing is connected to before the first decision, so the store may be away at the start.
        """
        self._fallback = fallback
        self._workers = workers
        self._memory = MemoryStore(max_windows=max_windows)
        self._arrears = Arrears()
        self._refusals = RefusalCache()
        self.refused = RefusalTally()
        self._on_change = on_change
        self._was_degraded = False
        self._local_plans: dict[Plan, tuple[Plan, bool]] = {}
        self._transport: Transport | None = None
        if storage.kind != "memory":
            self._transport = TRANSPORTS[storage.kind](
                storage, timeout_seconds=budget_ms * STORE_SHARE_OF_BUDGET / 1000, on_change=self._note_change
            )
        self.inspector = Inspector(self._transport, self._memory, self._arrears, self._refusals, self.refused)
        _engines.add(self)

    # --- deciding -----------------------------------------------------------------------------------------------------

    def decide(self, *charges: Charge) -> Decision:
        """Take every charge or none, within the budget, whether or not the store is there."""
        transport = self._transport
        if transport is None:
            part = Part(charges, self._memory.decide(charges), self._memory)
            return self._conclude_one(part, 0) if part.values[0] else Decision((part,))
        now = time.monotonic()
        if self._refusals:
            known = self._refusals.find(charges, now)
            if known is not None:
                return self._repeat(*known)
        try:
            routes = transport.route(charges)
        except StoreAwayError:
            return self._conclude_one(self._decide_locally(charges), now)
        if len(routes) == 1:
            return self._conclude_one(self._ask(*routes[0], now), now)
        return self._conclude(self._ask_all(routes, now), now)

    def refund(self, decision: Decision) -> None:
        """Give back everything that ``decision`` took; a store that is away keeps it until it leaves the window."""
        self._refund(decision, lambda _charge: True)

    def settle(self, decision: Decision, *, is_failure: bool) -> None:
        """Give back what ``decision`` reserved, now that its request is over, and the charge too unless it failed."""
        given_back = {ChargeKind.RESERVATION} if is_failure else {ChargeKind.RESERVATION, ChargeKind.PROVISIONAL}
        self._refund(decision, lambda charge: charge.kind in given_back)

    def _refund(self, decision: Decision, is_meant: Callable[[Charge], bool]) -> None:
        if not decision.is_admitted:
            return
        for part in decision.parts:
            self._refund_part(part, is_meant)
        for charge, stamps in decision.mirrored:
            if is_meant(charge):
                self._memory.refund([charge], stamps)

    def _ask(self, node: Node, charges: Sequence[Charge], now: float) -> Part:
        """Return the decision of ``node``, or this process's own when there is none."""
        if node.is_away:
            return self._decide_locally(charges)
        owed = self._take_arrears(charges) if self._arrears else None
        is_patient = _is_strict(charges)
        try:
            if owed:
                merges = self._pack_arrears(owed)
                payload = b"".join([*merges, pack_decide(charges)])
                reply = node.call(payload, len(merges) + 1, now=now, is_patient=is_patient)[-1]
            else:
                reply = node.call(pack_decide(charges), 1, now=now, is_patient=is_patient)[0]
            return Part(charges, read_values(reply), node)
        except StoreAwayError:
            self._put_back_arrears(owed)
            return self._decide_locally(charges)

    def _ask_all(self, routes: list[tuple[Node, Sequence[Charge]]], now: float) -> list[Part]:
        """Return every server's decision: all are asked before the first is heard, so it takes one round trip."""
        asked: list[tuple[Node, Sequence[Charge], list[tuple[str, list[Entry]]] | None, Link | None, bytes, int]] = []
        for node, charges in routes:
            owed = self._take_arrears(charges) if self._arrears and not node.is_away else None
            merges = self._pack_arrears(owed) if owed else []
            payload = b"".join([*merges, pack_decide(charges)])
            link: Link | None = None
            try:
                link = node.start(payload, now=now, is_patient=_is_strict(charges))
            except StoreAwayError:
                self._put_back_arrears(owed)
            asked.append((node, charges, owed, link, payload, len(merges) + 1))
        parts = []
        for node, charges, owed, link, payload, replies_count in asked:
            if link is None:
                parts.append(self._decide_locally(charges))
                continue
            try:
                reply = node.finish(link, payload, replies_count, now=now, is_patient=_is_strict(charges))[-1]
                parts.append(Part(charges, read_values(reply), node))
            except StoreAwayError:
                self._put_back_arrears(owed)
                parts.append(self._decide_locally(charges))
        return parts

    def _conclude_one(self, part: Part, now: float) -> Decision:
        if not part.values[0]:
            decision = Decision((part,), is_local=part.is_local)
            floor = self._note_admitted(part, decision, now)
            if floor is None:
                return decision
            self.refund(decision)
            part = floor
        if part.is_pending:
            return Decision((part,), is_admitted=False, wait_us=part.values[1], refused_part=part, is_pending=True)
        self._note_refused(part, now)
        return Decision((part,), is_admitted=False, wait_us=part.values[1], refused_part=part, is_local=part.is_local)

    def _conclude(self, parts: list[Part], now: float) -> Decision:
        is_local = any(part.is_local for part in parts)
        refused = [part for part in parts if part.values[0]]
        if not refused:
            decision = Decision(parts, is_local=is_local)
            floors = [self._note_admitted(part, decision, now) for part in parts]
            refused = [floor for floor in floors if floor is not None]
            if not refused:
                return decision
            self.refund(decision)
            parts = refused
        else:
            for part in parts:
                self._refund_part(part)
        longest = max(refused, key=lambda part: part.values[1])
        is_pending = all(part.is_pending for part in refused)
        for part in refused if not is_pending else ():
            self._note_refused(part, now)
        return Decision(
            parts,
            is_admitted=False,
            wait_us=longest.values[1],
            refused_part=longest,
            is_local=is_local,
            is_pending=is_pending,
        )

    def _repeat(self, part: Part, wait_us: int) -> Decision:
        passed_us = part.values[1] - wait_us
        values = list(part.values)
        for place in range(HEAD_FIELDS + 1, len(values), LIMIT_FIELDS):
            values[place] = max(0, values[place] - passed_us)
        part = part._replace(values=tuple(values))
        decision = Decision(
            (part,), is_admitted=False, wait_us=wait_us, refused_part=part, is_local=part.is_local, is_cached=True
        )
        self._tally(part)
        return decision

    def _note_admitted(self, part: Part, decision: Decision, now: float) -> Part | None:
        """Remember, of what was admitted, all that an outage of the store must not make forgotten.

        What a store admits soon after it came back has to be admitted by this process's own memory too, if the limit
        is strict: the store may have lost what it knew. Returns the memory's refusal, if it refuses.
        """
        if part.is_local:
            at_us = int(part.values[2])
            for charge in part.charges:
                if charge.cost:
                    self._arrears.add(charge, at_us)
            return None
        if not any(charge.plan.is_mirrored for charge in part.charges):
            return None
        mirrored = [charge for charge in part.charges if charge.plan.is_mirrored and charge.cost]
        if not mirrored:
            return None
        longest_us = max(charge.plan.longest_us for charge in mirrored)
        if isinstance(part.store, Node) and (now - part.store.reconnected_at) * US < longest_us:
            own = Part(mirrored, self._memory.decide(mirrored), self._memory, is_local=True)
            if own.values[0]:
                return own
            stamps = [tuple(int(stamp) for stamp in values[2::LIMIT_FIELDS]) for _charge, values in own.slices()]
        else:
            stamps = [self._memory.note(charge) for charge in mirrored]
        decision.mirrored += tuple(zip(mirrored, stamps, strict=True))
        return None

    def _note_refused(self, part: Part, now: float) -> None:
        refused_place = int(part.values[0]) - 1
        for charge, values in part.slices():
            if charge.kind is ChargeKind.BLOCK:
                self._count_refusal(charge, part)
            limits = charge.plan.limits
            if 0 <= refused_place < len(limits):
                self.refused.add(limits[refused_place].name, charge.subject)
                if self._transport is not None:
                    # Of several subjects only the one whose limit refused is certain to be refused again, and its
                    # answer alone is remembered: the other's counters are nobody else's business.
                    own = Part((charge,), (refused_place + 1, *part.values[1:3], *values), None, part.is_local)
                    self._refusals.add(own, charge, wait_us=int(part.values[1]), now=now)
            refused_place -= len(limits)

    def _count_refusal(self, charge: Charge, part: Part) -> None:
        """Count one refusal against the block of ``charge``, where it was refused."""
        counted = charge._replace(cost=1)
        if isinstance(part.store, Node):
            with contextlib.suppress(StoreAwayError):
                part.store.call(pack_merge(charge.plan, charge.subject, 1, age_us=0), 1, now=time.monotonic())
        else:
            self._memory.note(counted)

    def _tally(self, part: Part) -> None:
        charge = part.charges[0]
        self.refused.add(charge.plan.limits[int(part.values[0]) - 1].name, charge.subject)

    def _refund_part(self, part: Part, is_meant: Callable[[Charge], bool] = lambda _charge: True) -> None:
        if part.values[0] or part.store is None:
            return
        meant = [(charge, values) for charge, values in part.slices() if charge.cost and is_meant(charge)]
        if not meant:
            return
        if part.is_local:
            at_us = int(part.values[2])
            for charge, _values in meant:
                self._arrears.remove(charge, at_us)
        charges = [charge for charge, _values in meant]
        stamps = [stamp for _charge, values in meant for stamp in values[2::LIMIT_FIELDS]]
        # A store that is away keeps what it has until it leaves the window.
        with contextlib.suppress(StoreAwayError):
            part.store.refund(charges, stamps)
        self._refusals.clear()

    # --- without the store --------------------------------------------------------------------------------------------

    def _decide_locally(self, charges: Sequence[Charge]) -> Part:
        local = []
        for charge in charges:
            plan, is_denied = self._local_plan(charge.plan)
            if is_denied:
                row = (0.0, float(DENIED_WAIT_US), 0.0) * sum(len(other.plan.limits) for other in charges)
                return Part(charges, (1.0, float(DENIED_WAIT_US), 0.0, *row), None, is_local=True)
            local.append(charge._replace(plan=plan))
        return Part(local, self._memory.decide(local), self._memory, is_local=True)

    def _local_plan(self, plan: Plan) -> tuple[Plan, bool]:
        """Return the limits of ``plan`` that this process watches by itself, and whether the plan denies instead."""
        known = self._local_plans.get(plan)
        if known is None:
            words = {limit: limit.fallback or self._fallback for limit in plan.limits}
            watched = Plan(limit for limit in plan.limits if words[limit] is not Fallback.ALLOW)
            known = (watched.share(self._workers), Fallback.DENY in words.values())
            if len(self._local_plans) > 4096:
                self._local_plans.clear()
            self._local_plans[plan] = known
        return known

    def _take_arrears(self, charges: Sequence[Charge]) -> list[tuple[str, list[Entry]]]:
        taken = [(charge.subject, self._arrears.take(charge.subject)) for charge in charges]
        return [(subject, entries) for subject, entries in taken if entries]

    def _put_back_arrears(self, owed: list[tuple[str, list[Entry]]] | None) -> None:
        for subject, entries in owed or ():
            self._arrears.put_back(subject, entries)

    def _pack_arrears(self, owed: list[tuple[str, list[Entry]]]) -> list[bytes]:
        now_us = monotonic_us()
        return [
            pack_merge(charge.plan, subject, charge.cost, age_us=now_us - at_us)
            for subject, entries in owed
            for charge, at_us in entries
        ]

    # --- state --------------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Ask every server of the store, within the budget, so that ``is_degraded`` tells how it is now."""
        if self._transport is None:
            return
        with contextlib.suppress(StoreAwayError):
            # A cluster learns who its servers are when it is first asked for a route.
            self._transport.route(())
        for node in self._transport.nodes:
            with contextlib.suppress(StoreAwayError):
                node.call(node.trial, 1, now=time.monotonic())

    @property
    def is_degraded(self) -> bool:
        """Whether this process decides anything by itself for want of the store."""
        return self._transport is not None and self._transport.is_degraded

    def _note_change(self, _node: Node) -> None:
        is_degraded = self.is_degraded
        if is_degraded != self._was_degraded:
            self._was_degraded = is_degraded
            self._on_change(is_degraded)

    def close(self) -> None:
        """Close every connection; the engine is of no further use."""
        if self._transport is not None:
            self._transport.close()

    def reset_after_fork(self) -> None:
        """Begin anew in a child process: connections, threads and locks are the parent's."""
        self._memory.reset_after_fork()
        self._arrears.reset_after_fork()
        self.inspector.reset_after_fork()
        if self._transport is not None:
            self._transport.reset_after_fork()


def _is_strict(charges: Sequence[Charge]) -> bool:
    """Say whether a limit is among them that has to hold: a late answer of the store is better than none."""
    return any(charge.plan.is_mirrored for charge in charges)


def _reset_all_after_fork() -> None:
    for engine in list(_engines):
        engine.reset_after_fork()


os.register_at_fork(after_in_child=_reset_all_after_fork)
