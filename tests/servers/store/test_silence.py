"""A store that says nothing: who waits for it, for how long, and when it is given up."""

from __future__ import annotations

import threading
import time

import pytest

from app.ratelimit import Charge, Engine, parse_storage_uri
from gatehouse.testing.servers.redis import RedisServer, wait_until
from tests.servers.harness.proxy import NO_FAULT, Fault, Proxy
from tests.servers.store.asking import GENEROUS_SECONDS, PLAN, STRICT, ask, hold_connections, wait_for_return


def test_after_one_silence_no_decision_waits_and_a_store_that_stays_silent_is_left(
    server: RedisServer, engine: Engine
) -> None:
    server.freeze()
    try:
        decision = ask(engine)
        assert decision.is_admitted
        assert decision.is_local
        started = time.monotonic()
        for _ in range(200):
            assert ask(engine).is_local
        assert time.monotonic() - started < GENEROUS_SECONDS
        wait_until(lambda: engine.is_degraded)
    finally:
        server.thaw()
    wait_for_return(engine)


def test_of_many_connections_to_a_silent_store_one_is_tried(server: RedisServer) -> None:
    engine = Engine(parse_storage_uri(f"redis://127.0.0.1:{server.port}"), budget_ms=200)

    def measure() -> float:
        wait_until(lambda: not ask(engine).is_local)
        hold_connections(engine, 4)
        server.freeze()
        try:
            assert ask(engine).is_local
            started = time.monotonic()
            for _ in range(3):
                assert ask(engine).is_local
            return time.monotonic() - started
        finally:
            server.thaw()

    # Each would wait for 0.14 s, and the store is given up after 0.56 s.
    wait_until(lambda: measure() < 0.2, what="a round that the machine does not hold up")
    engine.close()


def test_a_silence_that_ends_soon_is_no_outage(
    server: RedisServer, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    server.freeze()
    assert ask(engine).is_local
    server.thaw()
    wait_until(lambda: not ask(engine).is_local)
    assert not engine.is_degraded
    assert not caplog.records


def test_a_strict_decision_hears_an_answer_that_comes_in_two_pieces(server: RedisServer) -> None:
    with Proxy(server.port) as proxy:
        engine = Engine(parse_storage_uri(f"redis://127.0.0.1:{proxy.port}"))
        wait_until(lambda: not ask(engine).is_local)
        proxy.fault = Fault(bytes_per_piece=30, delay_seconds=0.08, is_first_piece_prompt=True)
        decision = ask(engine, "in pieces", plan=STRICT)
        assert not decision.is_local
        assert decision.outcomes[0].remaining == 999
        assert not engine.is_degraded
        engine.close()


def test_a_strict_decision_hears_an_answer_that_is_late(server: RedisServer) -> None:
    with Proxy(server.port) as proxy:
        engine = Engine(parse_storage_uri(f"redis://127.0.0.1:{proxy.port}"))
        wait_until(lambda: not ask(engine).is_local)
        proxy.fault = Fault(delay_seconds=0.08)
        # Again: the doubt that the first casts on the store makes other decisions local, not these.
        assert not ask(engine, plan=STRICT).is_local
        assert not ask(engine, plan=STRICT).is_local
        assert not engine.decide(Charge(PLAN, "someone"), Charge(STRICT, "someone")).is_local
        assert ask(engine).is_local
        assert not engine.is_degraded
        proxy.fault = NO_FAULT
        wait_until(lambda: not ask(engine).is_local)
        engine.close()


def test_strict_decisions_wait_for_a_silent_store_until_it_is_given_up_and_no_longer(server: RedisServer) -> None:
    engine = Engine(parse_storage_uri(f"redis://127.0.0.1:{server.port}"), budget_ms=200)

    def decide(waits: list[float]) -> None:
        started = time.monotonic()
        assert engine.decide(Charge(STRICT, "someone")).is_local
        waits.append(time.monotonic() - started)

    def measure() -> list[float]:
        wait_for_return(engine)
        hold_connections(engine, 2)
        server.freeze()
        try:
            waits: list[float] = []
            first, later = (threading.Thread(target=decide, args=(waits,)) for _ in range(2))
            first.start()
            # Late enough that alone it would wait longest; the store is given up before.
            time.sleep(0.5)
            later.start()
            first.join()
            later.join()
            assert engine.is_degraded
        finally:
            server.thaw()
        assert len(waits) == 2
        return waits

    def is_in_time() -> bool:
        waits = measure()
        # A budget of 0.14 s, then 0.56 s of patience.
        return max(waits) < 0.9 and min(waits) < 0.5

    wait_until(is_in_time, what="a round that the machine does not hold up")
    engine.close()
