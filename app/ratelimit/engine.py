"""The engine: one decision for all limits of a request, whatever becomes of the store."""

from __future__ import annotations

import contextlib
import os
import time
import weakref
from collections.abc import Callable, Collection, Sequence
from typing import Final

from .decision import Decision, Part, Refusal
from .fallback import LocalFallback
from .inspection import Inspector
from .memory import MemoryStore
from .plan import Charge, ChargeKind, Fallback
from .redis import MEMORY, RedisServer, StorageUri, Topology, make_topology
from .refusals import RefusalCache, RefusalTally
from .store import LIMIT_FIELDS, StoreUnavailable
from .unsynced import Entry, UnsyncedCharges

BUDGET_MS_DEFAULT: Final = 25
# What is left of the budget pays for the decision in memory that follows a silent store, and for the scheduler.
STORE_SHARE_OF_BUDGET: Final = 0.7

# Connections, threads and locks are of no use to a forked child, which has no other way to hear of the fork.
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
        on_change: Callable[[bool], None] = lambda _is_degraded: None,
    ) -> None:
        """Decide in ``storage``; ``on_change`` is told when the engine becomes degraded, and when it recovers.

        Nothing is connected to before the first decision, so the store may be away at the start.
        """
        self._memory = MemoryStore()
        self._fallback = LocalFallback(self._memory, default=fallback, workers=workers)
        self._unsynced = UnsyncedCharges()
        self._refusals = RefusalCache()
        self.refused = RefusalTally()
        self._on_change = on_change
        self._was_degraded = False
        self._topology: Topology | None = None
        if storage.kind != "memory":
            timeout_seconds = budget_ms * STORE_SHARE_OF_BUDGET / 1000
            self._topology = make_topology(storage, timeout_seconds=timeout_seconds, on_change=self._note_change)
        self.inspector = Inspector(self._topology, self._memory, self._unsynced, self._refusals, self.refused)
        _engines.add(self)

    def decide(self, *charges: Charge) -> Decision:
        """Take every charge or none, within the budget, whether or not the store is there."""
        topology = self._topology
        if topology is None:
            part = Part(charges, self._memory.decide(charges), self._memory)
            return self._refuse((part,), (part,), 0) if part.values[0] else Decision((part,))
        now = time.monotonic()
        if self._refusals:
            known = self._refusals.find(charges, now)
            if known is not None:
                return self._repeat(known)
        try:
            parts = self._ask(topology.route(charges), now)
        except StoreUnavailable:
            parts = [self._fallback.decide(charges)]
        return self._conclude(parts, now)

    def _ask(self, routes: Sequence[tuple[RedisServer, Sequence[Charge]]], now: float) -> list[Part]:
        """Return the decision of every server, or this process's own about the charges of one that is away.

        All are asked before the first is heard, so that it takes one round trip.
        """
        asked = []
        for server, charges in routes:
            call = None
            earlier: list[Entry] = []
            # A strict limit has to hold: a late answer is better than none.
            is_strict = False
            for charge in charges:
                is_strict = is_strict or charge.plan.is_strict
            if not server.breaker.is_open:
                if self._unsynced:
                    earlier = self._unsynced.take(*[charge.subject for charge in charges])
                try:
                    call = server.send(charges, earlier, now=now, is_patient=is_strict)
                except StoreUnavailable:
                    self._unsynced.restore(earlier)
            asked.append((server, charges, call, earlier, is_strict))
        parts = []
        for server, charges, call, earlier, is_strict in asked:
            if call is not None:
                try:
                    parts.append(Part(charges, server.receive(call), server, is_strict=is_strict))
                    continue
                except StoreUnavailable:
                    self._unsynced.restore(earlier)
            parts.append(self._fallback.decide(charges))
        return parts

    def _conclude(self, parts: list[Part], now: float) -> Decision:
        """Return what follows from ``parts``: where one refuses, all others get back what they took."""
        decision = Decision(parts)
        refused = []
        for part in parts:
            if part.values[0]:
                refused.append(part)
            elif part.is_local:
                decision.is_local = True
                for charge in part.charges:
                    if charge.cost:
                        self._unsynced.add(charge, int(part.values[2]))
            elif part.is_strict:
                own = self._fallback.remember(part, now)
                decision.remembered += (own,)
                if own.values[0]:
                    refused.append(own)
        if not refused:
            return decision
        self.refund(decision)
        return self._refuse(parts if any(part.values[0] for part in parts) else refused, refused, now)

    def _refuse(self, parts: Sequence[Part], refused: Sequence[Part], now: float) -> Refusal:
        longest = max(refused, key=lambda part: part.values[1])
        is_pending = all(part.is_pending for part in refused)
        if not is_pending:
            for part in refused:
                self._note_refused(part, now)
        is_local = any(part.is_local for part in parts)
        return Refusal(parts, longest, is_local=is_local, is_pending=is_pending)

    def _repeat(self, part: Part) -> Refusal:
        """Return a refusal that is certain."""
        charge = part.charges[0]
        self.refused.add(charge.plan.limits[int(part.values[0]) - 1].name, charge.subject)
        return Refusal((part,), part, is_local=part.is_local, is_cached=True)

    def _note_refused(self, part: Part, now: float) -> None:
        """Count the refusal, against blocks too, and remember it as certain where the store would be asked again."""
        refused_place = int(part.values[0]) - 1
        for charge, values in part.slices():
            if charge.kind is ChargeKind.BLOCK:
                store = self._memory if part.store is None else part.store
                with contextlib.suppress(StoreUnavailable):
                    store.add(charge._replace(cost=1))
            limits = charge.plan.limits
            if 0 <= refused_place < len(limits):
                self.refused.add(limits[refused_place].name, charge.subject)
                if self._topology is not None:
                    # Of several subjects only the one whose limit refused is certain to be refused again, and its
                    # answer alone is remembered: the other's counters are nobody else's business.
                    own = Part((charge,), (refused_place + 1, *part.values[1:3], *values), None, part.is_local)
                    self._refusals.add(own, charge, now=now)
            refused_place -= len(limits)

    def refund(self, decision: Decision, kinds: Collection[ChargeKind] = tuple(ChargeKind)) -> None:
        """Give back what ``decision`` took by charges of some ``kinds``, or of all.

        A store that is away keeps it until it leaves the window.
        """
        if not decision.is_admitted:
            return
        for part in (*decision.parts, *decision.remembered):
            meant = [(charge, values) for charge, values in part.slices() if charge.cost and charge.kind in kinds]
            if part.values[0] or part.store is None or not meant:
                continue
            if part.is_local:
                for charge, _values in meant:
                    self._unsynced.remove(charge, int(part.values[2]))
            with contextlib.suppress(StoreUnavailable):
                part.store.refund(
                    [charge for charge, _values in meant],
                    [stamp for _charge, values in meant for stamp in values[2::LIMIT_FIELDS]],
                )
            self._refusals.clear()

    def settle(self, decision: Decision, *, is_failure: bool) -> None:
        """Give back what ``decision`` reserved, now that its request is over, and the charge too unless it failed."""
        self.refund(
            decision, [ChargeKind.RESERVATION] if is_failure else [ChargeKind.RESERVATION, ChargeKind.PROVISIONAL]
        )

    def look(self) -> bool:
        """Ask every server of the store, within the budget; say whether the engine ``is_degraded`` now."""
        if self._topology is not None:
            with contextlib.suppress(StoreUnavailable):
                # A cluster learns who its servers are when it is first asked for a route.
                self._topology.route(())
            for server in self._topology.servers:
                with contextlib.suppress(StoreUnavailable):
                    server.decide([server.prober.probe])
        return self.is_degraded

    @property
    def is_degraded(self) -> bool:
        """Whether this process decides anything by itself for want of the store."""
        return self._topology is not None and self._topology.is_degraded

    def _note_change(self, _server: RedisServer) -> None:
        is_degraded = self.is_degraded
        if is_degraded != self._was_degraded:
            self._was_degraded = is_degraded
            self._on_change(is_degraded)

    def close(self) -> None:
        """Close every connection; the engine is of no further use."""
        if self._topology is not None:
            self._topology.close()

    def reset_after_fork(self) -> None:
        """Begin anew in a child process: connections, threads and locks are the parent's."""
        self._memory.reset_after_fork()
        self._unsynced.reset_after_fork()
        self.inspector.reset_after_fork()
        if self._topology is not None:
            self._topology.reset_after_fork()


def _reset_all_after_fork() -> None:
    for engine in list(_engines):
        engine.reset_after_fork()


os.register_at_fork(after_in_child=_reset_all_after_fork)
