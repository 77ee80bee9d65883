"""Asking a store for decisions, and waiting for what becomes of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from app.ratelimit import Charge, Engine, Plan, compile_plan
from gatehouse.testing.servers.redis import wait_until

if TYPE_CHECKING:
    from app.ratelimit import Decision

# The budget is 25 ms. A test asks only for what a busy machine keeps too; the benchmark measures the rest.
GENEROUS_SECONDS = 0.5
PLAN = compile_plan("1000/minute", scope="away")
STRICT = compile_plan("1000/minute", scope="away", is_strict=True)


def ask(engine: Engine, subject: str = "someone", plan: Plan = PLAN, cost: int = 1) -> Decision:
    started = time.monotonic()
    decision = engine.decide(Charge(plan, subject, cost))
    assert time.monotonic() - started < GENEROUS_SECONDS
    return decision


def ask_store(engine: Engine, subject: str, plan: Plan) -> Decision:
    """Return the first decision that the store makes: a busy machine is late for some."""
    decisions: list[Decision] = []

    def is_remote() -> bool:
        decisions.append(ask(engine, subject, plan))
        return not decisions[-1].is_local

    wait_until(is_remote)
    return decisions[-1]


def hold_connections(engine: Engine, count: int) -> None:
    """Have as many connections to the store open as so many decisions at once need."""
    store = engine._topology.servers[0]  # type: ignore[union-attr]
    for connection in [store.take(time.monotonic(), is_patient=True) for _ in range(count)]:
        store.pool.give_back(connection)


def wait_for_return(engine: Engine) -> None:
    wait_until(lambda: not engine.is_degraded, seconds=10, what="the return of the store")
    wait_until(lambda: not ask(engine).is_local, seconds=10, what="a decision by the store")
