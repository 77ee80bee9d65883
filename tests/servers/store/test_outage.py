"""A store that is away: what is decided without it, and how it is used again."""

from __future__ import annotations

import logging
import time

import pytest

from app.ratelimit import Charge, Engine, Fallback, compile_plan, parse_storage_uri
from app.ratelimit.redis.protocol import ConnectionFailed
from app.ratelimit.store import StoreUnavailable
from gatehouse.testing.servers.redis import RedisServer, find_free_port, running, wait_until
from tests.servers.store.asking import ask, hold_connections, wait_for_return


def test_a_connection_from_before_an_outage_is_not_used_after_it_and_tells_nothing_of_the_server(
    engine: Engine,
) -> None:
    store = engine._topology.servers[0]  # type: ignore[union-attr]
    kept, broken = (store.take(time.monotonic(), is_patient=True) for _ in range(2))
    store.open_breaker("a test")
    wait_for_return(engine)
    store.pool.give_back(kept)
    fresh = store.take(time.monotonic())
    assert fresh is not kept
    store.pool.give_back(fresh)
    with pytest.raises(StoreUnavailable):
        store.fail(broken, ConnectionFailed("reset"))
    assert not store.breaker.is_open


def test_a_killed_store_is_used_again_after_its_restart_over_as_many_connections(
    server: RedisServer, engine: Engine
) -> None:
    hold_connections(engine, 5)
    server.kill()
    assert ask(engine).is_local
    server.start()
    wait_until(lambda: not engine.is_degraded, seconds=10, what="the return of the store")
    # All but the one that found out.
    assert len(engine._topology.servers[0].pool._idle) == 4  # type: ignore[union-attr]
    assert not ask(engine).is_local


def test_each_change_of_state_is_one_line_of_log(
    server: RedisServer, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="app.ratelimit"):
        server.kill()
        for _ in range(20):
            ask(engine)
        server.start()
        wait_for_return(engine)
        # The thread that found it back tells of it a moment later.
        wait_until(lambda: len(caplog.records) > 1)
    assert ["is away" in record.getMessage() for record in caplog.records] == [True, False]
    assert "is back" in caplog.records[1].getMessage()


def test_a_store_may_be_away_at_the_start() -> None:
    port = find_free_port()
    engine = Engine(parse_storage_uri(f"redis://127.0.0.1:{port}"))
    try:
        assert ask(engine).is_local
        with running(port=port):
            wait_for_return(engine)
    finally:
        engine.close()


def test_the_app_is_told_when_it_becomes_degraded_and_when_it_recovers(server: RedisServer) -> None:
    changes: list[bool] = []
    engine = Engine(parse_storage_uri(f"redis://127.0.0.1:{server.port}"), on_change=changes.append)
    wait_until(lambda: not ask(engine).is_local)
    server.kill()
    ask(engine)
    server.start()
    wait_for_return(engine)
    engine.close()
    assert changes == [True, False]


def test_guesses_through_an_outage_and_after_it_never_exceed_a_strict_limit(
    server: RedisServer, engine: Engine
) -> None:
    plan = compile_plan("10/hour", scope="login", is_strict=True)
    admitted = sum(ask(engine, "victim", plan).is_admitted for _ in range(4))
    for _ in range(3):
        server.kill()
        wait_until(lambda: ask(engine, "other").is_local)
        admitted += sum(ask(engine, "victim", plan).is_admitted for _ in range(5))
        # Without persistence the restarted server knows nothing of before.
        server.start()
        wait_for_return(engine)
        admitted += sum(ask(engine, "victim", plan).is_admitted for _ in range(2))
    assert admitted <= 10


def test_counts_made_while_the_store_was_frozen_reach_it_afterwards(server: RedisServer, engine: Engine) -> None:
    plan = compile_plan("10/hour;500/day", scope="merge")
    assert all(ask(engine, "merged", plan).is_admitted for _ in range(3))
    server.freeze()
    # The first may or may not have reached the frozen server's socket; what is sure counts here.
    locally = sum(ask(engine, "merged", plan).is_admitted for _ in range(5))
    server.thaw()
    wait_for_return(engine)
    decision = ask(engine, "merged", plan)
    assert not decision.is_local
    remaining = [outcome.remaining for outcome in decision.outcomes]
    assert remaining[0] in {10 - 4 - locally, 10 - 5 - locally}
    assert remaining[1] in {500 - 4 - locally, 500 - 5 - locally}
    fresh = Engine(parse_storage_uri(f"redis://127.0.0.1:{server.port}"))
    wait_until(lambda: not ask(fresh, "warm").is_local)
    assert fresh.decide(Charge(plan, "merged", 0)).outcomes[0].remaining == remaining[0]
    fresh.close()


def test_a_strict_limit_is_divided_among_processes_that_cannot_see_each_other() -> None:
    engine = Engine(parse_storage_uri(f"redis://127.0.0.1:{find_free_port()}"), workers=4)
    plan = compile_plan("20/hour", scope="login", is_strict=True)
    assert sum(ask(engine, "victim", plan).is_admitted for _ in range(30)) == 5
    engine.close()


@pytest.mark.parametrize(("fallback", "admitted"), [(Fallback.ALLOW, 8), (Fallback.DENY, 0), (Fallback.LOCAL, 3)])
def test_a_limit_may_choose_what_decides_without_the_store(fallback: Fallback, admitted: int) -> None:
    engine = Engine(parse_storage_uri(f"redis://127.0.0.1:{find_free_port()}"))
    plan = compile_plan("3/hour", scope="own", fallback=fallback)
    assert sum(ask(engine, "someone", plan).is_admitted for _ in range(8)) == admitted
    engine.close()
