"""What is wrong with a store but for an outage: restarts, refusals, memory, passwords, forks."""

from __future__ import annotations

import os
import time

import pytest

from app.ratelimit import Charge, Engine, compile_plan, parse_storage_uri
from gatehouse.testing.servers.redis import RedisServer, find_free_port, wait_until
from tests.servers.harness.proxy import NO_FAULT, Fault, Proxy
from tests.servers.store.asking import ask, ask_store, wait_for_return


def test_a_flushed_script_cache_costs_nothing_but_time(server: RedisServer, engine: Engine) -> None:
    with server.client() as client:
        client.script_flush()
    decision = ask(engine)
    assert not decision.is_local
    assert not engine.is_degraded


def test_connections_that_the_server_closed_while_idle_are_no_outage(server: RedisServer, engine: Engine) -> None:
    with server.client() as client:
        client.client_kill_filter(_type="normal")
    time.sleep(1.1)  # connections are looked at again only after a second of idleness
    assert ask(engine).is_admitted
    assert not engine.is_degraded


def test_a_paused_server_is_left_and_found_again(server: RedisServer, engine: Engine) -> None:
    with server.client() as client:
        client.client_pause(1500)
    assert ask(engine).is_local
    wait_until(lambda: engine.is_degraded)
    wait_for_return(engine)


def test_a_server_out_of_memory_decides_nothing_and_nothing_is_lost(server: RedisServer, engine: Engine) -> None:
    with server.client() as client:
        client.config_set("maxmemory", 1)
        assert all(ask(engine).is_local for _ in range(5))
        assert engine.is_degraded
        client.config_set("maxmemory", 0)
    wait_for_return(engine)


def test_a_demoted_server_is_left_until_it_takes_writes_again(server: RedisServer, engine: Engine) -> None:
    with server.client() as client:
        client.replicaof("127.0.0.1", find_free_port())
        assert all(ask(engine).is_local for _ in range(5))
        assert engine.is_degraded
        client.replicaof("NO", "ONE")
    wait_for_return(engine)


def test_a_wrong_password_is_an_outage_until_it_is_right(server: RedisServer, engine: Engine) -> None:
    with server.client() as client:
        client.config_set("requirepass", "another")
        client.client_kill_filter(_type="normal", skipme=True)
    assert ask(engine).is_admitted
    wait_until(lambda: engine.is_degraded or ask(engine).is_local)
    with server.client(password="another") as client:
        client.config_set("requirepass", "")
    wait_for_return(engine)


def test_a_proxy_that_hangs_delays_and_cuts_never_stops_a_decision(server: RedisServer) -> None:
    with Proxy(server.port) as proxy:
        engine = Engine(parse_storage_uri(f"redis://127.0.0.1:{proxy.port}"))
        wait_until(lambda: not ask(engine).is_local)
        proxy.fault = Fault(is_hanging=True)
        assert ask(engine).is_local
        proxy.fault = NO_FAULT
        wait_for_return(engine)
        proxy.cut()
        assert ask(engine).is_local
        wait_for_return(engine)
        proxy.fault = Fault(delay_seconds=0.2)
        assert ask(engine).is_local
        assert all(ask(engine).is_local for _ in range(20))
        proxy.fault = NO_FAULT
        wait_for_return(engine)
        engine.close()


def test_a_request_takes_one_round_trip_and_a_known_refusal_none(server: RedisServer) -> None:
    with Proxy(server.port) as proxy:
        engine = Engine(parse_storage_uri(f"redis://127.0.0.1:{proxy.port}"), budget_ms=1000)
        plans = [compile_plan("5/minute;100/hour;1000/day", scope=scope) for scope in "ab"]
        charges = [Charge(plan, subject) for plan, subject in zip(plans, ["address:1", "account:2"], strict=True)]
        engine.decide(charges[0])
        before = proxy.round_trips_count
        for count in range(1, 5):
            before = proxy.round_trips_count
            assert engine.decide(*charges).is_admitted == (count < 5)
            wait_until(lambda before=before: proxy.round_trips_count == before + 1)  # type: ignore[misc] # bound above
        assert not engine.decide(*charges).is_admitted
        wait_until(lambda: proxy.round_trips_count == before + 2)
        known = engine.decide(*charges)
        assert not known.is_admitted
        assert known.is_cached
        time.sleep(0.05)
        assert proxy.round_trips_count == before + 2
        engine.close()


def test_a_forked_child_has_connections_of_its_own(engine: Engine) -> None:
    plan = compile_plan("100/hour", scope="fork")
    assert not ask(engine, "family", plan).is_local
    child = os.fork()
    if child == 0:
        try:
            for _ in range(10):
                ask(engine, "family", plan)
            ask_store(engine, "family", plan)
            os._exit(0)
        except BaseException:  # noqa: BLE001 - nothing of the child may reach the test runner
            os._exit(2)
    for _ in range(10):
        ask(engine, "family", plan)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert ask_store(engine, "family", plan).outcomes[0].remaining <= 100 - 22


def test_an_operator_can_show_clear_and_rank(engine: Engine) -> None:
    plan = compile_plan("10/hour;500/day", scope="op")
    for _ in range(3):
        ask(engine, "account:}{ ü", plan)
    shown = engine.inspector.show("account:}{ ü")
    assert [(held.subject, held.units) for held in shown] == [("account:}{ ü", 3)] * 2
    assert engine.inspector.rank(2)[0].units >= 3
    assert engine.inspector.clear("account:}{ ü")
    assert not engine.inspector.clear("account:}{ ü")
    assert engine.inspector.show("account:}{ ü") == []


@pytest.mark.parametrize("notation", ["100/minute", "1000/minute"])
def test_every_key_of_a_window_expires(server: RedisServer, engine: Engine, notation: str) -> None:
    plan = compile_plan(notation, scope="expiring")
    # Exact and bucketed windows are made by different lines of the script.
    for _ in range(3):
        assert not ask(engine, "someone", plan).is_local
        with server.client() as client:
            keys = [key for key in client.scan_iter(match="rl1:*") if b"expiring" in key]
            assert keys
            assert all(60_000 < client.pttl(key) <= 120_000 for key in keys)


@pytest.mark.parametrize(("pause_seconds", "opens"), [(0.0, True), (0.6, False)])
def test_refusals_of_a_server_open_the_breaker_only_within_a_second(
    server: RedisServer, engine: Engine, pause_seconds: float, *, opens: bool
) -> None:
    with server.client() as client:
        client.config_set("maxmemory", 1)
        for _ in range(3):
            assert not engine.is_degraded
            assert ask(engine).is_local
            time.sleep(pause_seconds)
        # A server that refuses stays away while it does: an open breaker cannot have closed again.
        assert engine.is_degraded is opens
        client.config_set("maxmemory", 0)
    wait_for_return(engine)


def test_what_was_admitted_without_the_store_counts_there_from_when_it_was_admitted(server: RedisServer) -> None:
    plan = compile_plan("5/minute", scope="age")
    # A budget that no busy machine overruns: what a silence leaves open would be counted twice.
    engine = Engine(parse_storage_uri(f"redis://127.0.0.1:{server.port}"), budget_ms=2000)
    wait_until(lambda: not engine.decide(Charge(plan, "warm")).is_local)
    server.kill()
    wait_until(lambda: engine.decide(Charge(plan, "warm")).is_local)
    assert all(engine.decide(Charge(plan, "someone")).is_local for _ in range(4))
    admitted_at = time.monotonic()
    server.start()
    wait_until(lambda: not engine.is_degraded)
    time.sleep(max(0.0, admitted_at + 1 - time.monotonic()))
    decision = engine.decide(Charge(plan, "someone"))
    engine.close()
    assert not decision.is_local
    assert decision.outcomes[0].remaining == 0
    assert 0 < decision.outcomes[0].reset_us <= 59_000_000
