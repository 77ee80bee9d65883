"""The memory store against the plain model, and its own bounds."""

from __future__ import annotations

import contextlib
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING

from hypothesis import settings

from app.ratelimit import Charge, Engine, Limit, Plan, compile_plan
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


def test_what_is_counted_whatever_the_limits_say_is_bounded_too() -> None:
    store = MemoryStore(max_windows=10)
    for number in range(50):
        store.add(Charge(compile_plan("5/minute;50/hour"), f"subject {number}"))
    assert len(store) == 10
    assert store.show("subject 44") == {}


def test_what_was_forgotten_meanwhile_is_not_given_back_out_of_what_others_were_charged() -> None:
    store = MemoryStore(clock_ns=lambda: 0)
    former, later = (Charge(compile_plan("1000/day"), "bob", cost=cost) for cost in (5, 2))
    assert former.plan.rows[0][3], "it is counted in buckets"
    stamps = store.decide([former])[5::3]
    store.clear("bob")
    store.decide([later])
    store.refund([former], stamps)
    assert store.decide([later._replace(cost=1000)])[0] == 0
    assert store.decide([later])[0] == 1


def test_a_bucket_leaves_its_window_while_a_later_one_is_being_filled() -> None:
    now_us = 0
    store = MemoryStore(clock_ns=lambda: now_us * 1000)
    charge = Charge(Plan([Limit(1000, window_us=25, bucket_us=10)]), "bob")
    store.decide([charge])
    now_us = 30
    store.decide([charge])
    now_us = 36
    _refused, _wait, _now, left, reset_us, _stamp = store.decide([charge])
    assert (left, reset_us) == (998, 29)
