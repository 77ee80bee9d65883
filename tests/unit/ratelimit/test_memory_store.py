"""The memory store against the plain model, and its own bounds."""

from __future__ import annotations

import contextlib
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING

from hypothesis import settings

from app.ratelimit import Charge, Engine, compile_plan
from app.ratelimit.memory import MemoryStore
from tests.ratelimit_model import StoreMachine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.ratelimit_model import ClockedStore


class MemoryMachine(StoreMachine):
    def make_store(self) -> ClockedStore:
        return MemoryStore(clock_ns=lambda: self.now * 1000)


TestMemoryAgainstModel = MemoryMachine.TestCase
TestMemoryAgainstModel.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_the_subjects_idle_for_longest_go_first() -> None:
    store = MemoryStore(max_windows=10)
    plan = compile_plan("5/minute;50/hour")
    for number in range(5):
        store.decide([Charge(plan, f"subject {number}")])
    store.decide([Charge(plan, "subject 0")])
    store.decide([Charge(plan, "newcomer")])
    assert len(store) == 10
    assert store.show("subject 1") == {}
    assert len(store.show("subject 0")) == 2


def test_parallel_threads_never_get_more_than_the_limit() -> None:
    engine = Engine()
    plan = compile_plan("50/hour")
    admitted: list[bool] = []

    def ask() -> None:
        admitted.extend(engine.decide(Charge(plan, "one")).is_admitted for _ in range(40))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(admitted) == 50


def test_a_decision_has_the_store_to_itself() -> None:
    both_inside = threading.Barrier(2)
    meetings: list[bool] = []

    class Rows(tuple[object, ...]):
        __slots__ = ()

        def __iter__(self) -> Iterator[object]:
            with contextlib.suppress(threading.BrokenBarrierError):
                both_inside.wait(timeout=0.2)
                meetings.append(True)
            return super().__iter__()

    store = MemoryStore()
    plan = SimpleNamespace(rows=Rows(compile_plan("5/hour").rows))
    threads = [threading.Thread(target=store.decide, args=([Charge(plan, "one")],)) for _ in range(2)]  # type: ignore[arg-type]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not meetings
    assert store.show("one")


def test_clearing_a_subject_gives_it_a_fresh_start() -> None:
    store = MemoryStore()
    charge = Charge(compile_plan("1/hour"), "bob")
    store.decide([charge])
    assert store.decide([charge])[0] == 1
    assert store.clear("bob")
    assert not store.clear("bob")
    assert store.decide([charge])[0] == 0
    assert len(store) == 1
