"""What a strict limit promises when several processes share it and their store does not do as it should."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from app.ratelimit import Charge, Engine, compile_plan, parse_storage_uri
from gatehouse.testing.servers.redis import RedisServer, running, wait_until
from tests.servers.harness.proxy import Fault, Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

AMOUNT = 10
GUESSES = 3 * AMOUNT
STRICT = compile_plan(f"{AMOUNT}/hour", scope="guesses", is_strict=True)
PROCESSES = [2, 4, 8]


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with running() as one:
        yield one


def start(stack: ExitStack, *ports: int) -> list[Engine]:
    """Return the limiters of so many processes, each with its connection to the store."""
    engines = [Engine(parse_storage_uri(f"redis://127.0.0.1:{port}"), workers=len(ports)) for port in ports]
    for engine in engines:
        stack.callback(engine.close)
    wait_for_all(engines, is_local=False)
    return engines


def wait_for_all(engines: Sequence[Engine], *, is_local: bool) -> None:
    """Return when every process decides by itself, or every one by the store."""
    for engine in engines:
        wait_until(
            lambda engine=engine: engine.decide(Charge(STRICT, "warm", 0)).is_local is is_local  # type: ignore[misc]
        )


def guess(engines: Sequence[Engine]) -> int:
    """Return how many guesses about one victim all processes admit together, in turn and to the end."""
    return sum(engine.decide(Charge(STRICT, "victim")).is_admitted for _ in range(GUESSES) for engine in engines)


@pytest.mark.parametrize("processes", PROCESSES)
def test_a_store_that_answers_admits_the_amount_however_slowly(server: RedisServer, processes: int) -> None:
    with ExitStack() as stack, Proxy(server.port) as proxy:
        engines = start(stack, *[proxy.port] * processes)
        proxy.fault = Fault(delay_seconds=0.03)
        assert sum(engine.decide(Charge(STRICT, "victim")).is_admitted for _ in range(6) for engine in engines) == min(
            AMOUNT, 6 * processes
        )


@pytest.mark.parametrize("processes", PROCESSES)
def test_a_store_that_comes_back_empty_admits_the_amount_once_more_and_no_process_more_than_it(
    server: RedisServer, processes: int
) -> None:
    with ExitStack() as stack:
        engines = start(stack, *[server.port] * processes)
        # One process admits all; the others, which do not know, are asked about it afterwards.
        assert guess(engines[:1]) == AMOUNT
        server.kill()
        server.start()
        # What the first admitted before, it remembers: nobody gets a second chance from it.
        assert guess(engines[:1]) == 0
        wait_for_all(engines, is_local=False)
        assert guess(engines) == AMOUNT


@pytest.mark.parametrize("processes", PROCESSES)
def test_processes_that_find_an_empty_store_late_admit_their_shares_beside_the_amount_once(
    server: RedisServer, processes: int
) -> None:
    share = max(1, AMOUNT // processes)
    with ExitStack() as stack, Proxy(server.port) as proxy:
        engines = start(stack, server.port, *[proxy.port] * (processes - 1))
        proxy.refuse()
        server.kill()
        server.start()
        wait_for_all(engines[:1], is_local=False)
        wait_for_all(engines[1:], is_local=True)
        assert guess(engines) == AMOUNT + (processes - 1) * share
        # In the next outage every share is spent already.
        server.kill()
        wait_for_all(engines, is_local=True)
        assert guess(engines) == 0


@pytest.mark.parametrize("processes", PROCESSES)
def test_processes_that_are_cut_off_admit_their_shares_beside_the_amount(server: RedisServer, processes: int) -> None:
    share = max(1, AMOUNT // processes)
    with ExitStack() as stack, Proxy(server.port) as proxy:
        engines = start(stack, server.port, *[proxy.port] * (processes - 1))
        proxy.refuse()
        wait_for_all(engines[1:], is_local=True)
        assert guess(engines) == AMOUNT + (processes - 1) * share


def test_a_store_that_nobody_has_is_one_amount_for_all(server: RedisServer) -> None:
    with ExitStack() as stack:
        engines = start(stack, *[server.port] * 5)
        server.kill()
        wait_for_all(engines, is_local=True)
        assert guess(engines) == AMOUNT


def test_a_process_that_slept_through_the_restart_of_its_store_gives_no_second_chance(server: RedisServer) -> None:
    with ExitStack() as stack:
        (engine,) = start(stack, server.port)
        assert guess([engine]) == AMOUNT
        server.kill()
        server.start()
        # Connections are looked at again only after a second of idleness; this process was told of no outage.
        time.sleep(1.1)
        assert guess([engine]) == 0
        assert not engine.is_degraded
