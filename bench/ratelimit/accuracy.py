"""Exactness: round trips, adversarial timing, many clients, clocks that are off."""

from __future__ import annotations

import multiprocessing
import random
import threading
import time
from typing import TYPE_CHECKING
from unittest import mock

import limits
from limits.storage import MemoryStorage

from app.ratelimit import Charge, Engine, Plan, compile_plan, parse_storage_uri
from app.ratelimit.memory import MemoryStore
from app.ratelimit.plan import US, Limit
from app.ratelimit.redis.protocol import pack_command
from app.ratelimit.redis.scripts import DECIDE
from bench.ratelimit.peers import STRATEGIES, Peer
from gatehouse.testing.servers.redis import wait_until
from tests.servers.harness.proxy import Proxy
from tests.servers.redis_clusters import running_cluster

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from bench.measure import Report
    from gatehouse.testing.servers.redis import RedisServer

ADVERSARY_LIMIT = 100
PROCESSES = 4
CLIENTS_PER_PROCESS = 16


def tell_time(clock: Callable[[], float]) -> AbstractContextManager[object]:
    """Put ``clock`` in the place of this process's own inside the block."""
    return mock.patch("time.time", new=clock)


def bench_round_trips(report: Report, server: RedisServer) -> None:
    """Count round trips at a proxy."""
    with Proxy(server.port) as proxy:
        uri = f"redis://127.0.0.1:{proxy.port}/0"
        engine = Engine(parse_storage_uri(uri), budget_ms=1000)
        for notation in ("5/minute", "5/minute;100/hour;1000/day", ";".join(f"5/{n} minutes" for n in range(1, 11))):
            plan = compile_plan(notation, scope="trips")
            wait_until(lambda plan=plan: not engine.decide(Charge(plan, "warm", 0)).is_local)  # type: ignore[misc]
            peer = Peer(uri, "moving-window", notation)
            peer.decide("warm")
            ours = _count_trips(proxy, lambda plan=plan: engine.decide(Charge(plan, "someone")))  # type: ignore[misc]
            theirs = _count_trips(proxy, lambda peer=peer: peer.decide("someone"))  # type: ignore[misc]
            report.add(
                f"round trips for a request with {len(plan.limits)} limits, headers included",
                "1",
                ours=str(ours),
                peer=f"{theirs} (moving-window)",
                result="counted at a proxy",
                is_reached=ours == 1,
            )
        plan, peer = (
            compile_plan("5/minute;100/hour;1000/day", scope="known"),
            Peer(uri, "moving-window", "5/minute;9/day"),
        )
        for _ in range(10):
            engine.decide(Charge(plan, "refused"))
        ours = _count_trips(proxy, lambda: engine.decide(Charge(plan, "refused")))
        for _ in range(10):
            peer.decide("refused")
        theirs = _count_trips(proxy, lambda: peer.decide("refused"))
        report.add(
            "round trips for a refusal already known",
            "0",
            ours=str(ours),
            peer=f"{theirs} (moving-window)",
            result="counted at a proxy",
            is_reached=ours == 0,
        )
        engine.close()


def _count_trips(proxy: Proxy, work: Callable[[], object]) -> int:
    time.sleep(0.02)
    before = proxy.round_trips_count
    work()
    time.sleep(0.05)
    return proxy.round_trips_count - before


def bench_adversary(report: Report, server: RedisServer) -> None:
    """Find the most that is admitted in any trailing window, under timing meant to find it."""
    exact = Plan([Limit(ADVERSARY_LIMIT, 60 * US, "exact")])
    bucketed = Plan([Limit(ADVERSARY_LIMIT, 60 * US, "bucketed", 600_000)])
    for name, plan in (("exact form", exact), ("bucketed form", bucketed)):
        clock = [1_800_000_000 * US]
        store = MemoryStore(clock_ns=lambda clock=clock: clock[0] * 1000)  # type: ignore[misc]

        def in_memory(at: float, plan: Plan = plan, clock: list[int] = clock, store: MemoryStore = store) -> bool:
            clock[0] = 1_800_000_000 * US + int(at * US)
            return store.decide([Charge(plan, "adversary")])[0] == 0

        engine = Engine(parse_storage_uri(f"redis://127.0.0.1:{server.port}/0"), budget_ms=1000)
        wait_until(lambda engine=engine: not engine.decide(Charge(exact, "warm", 0)).is_local)  # type: ignore[misc]
        in_redis = _ask_redis_at(engine, plan, server)
        ours = max(_attack(in_memory), _attack(in_redis))
        engine.close()
        others = {word: _attack(_ask_peer_at(word)) for word in STRATEGIES}
        report.add(
            f"most admitted in any trailing window under adversarial timing, limit {ADVERSARY_LIMIT}, {name}",
            str(ADVERSARY_LIMIT),
            ours=str(ours),
            peer=", ".join(f"{count} {word}" for word, count in others.items()),
            result="memory and Redis",
            is_reached=ours == ADVERSARY_LIMIT,
        )


def _ask_redis_at(engine: Engine, plan: Plan, server: RedisServer) -> Callable[[float], bool]:
    with server.client() as client:
        client.flushall()
    store = engine._topology.servers[0]  # type: ignore[union-attr] # noqa: SLF001 - the clock is told, as in the tests
    keys = [key.encode() for key in plan.name_keys("adversary")]

    def ask(at: float) -> bool:
        clock = b"%d" % (1_800_000_000 * US + int(at * US))
        payload = pack_command(b"EVALSHA", DECIDE.sha, b"%d" % len(keys), *keys, plan.spec(1), clock)
        reply = store.call(payload, 1, now=time.monotonic())[0]
        assert isinstance(reply, bytes)
        return reply[:8] == bytes(8)

    return ask


def _ask_peer_at(strategy: str) -> Callable[[float], bool]:
    item = limits.parse(f"{ADVERSARY_LIMIT}/minute")
    storage = MemoryStorage()
    limiter = STRATEGIES[strategy](storage)

    def ask(at: float) -> bool:
        with tell_time(lambda: 1_800_000_000 + at):
            # Its expiry thread runs on the real clock; here expiry has to follow the told one.
            for key, until in list(storage.expirations.items()):
                if until <= time.time():
                    storage.storage.pop(key, None)
                    storage.expirations.pop(key, None)
                    storage.events.pop(key, None)
            return limiter.hit(item, "adversary")

    return ask


def _attack(ask: Callable[[float], bool]) -> int:
    """Return the most admitted in 60 s, over bursts around every edge, and at random."""
    most = 0
    base = 0.0
    chance = random.Random(7)  # noqa: S311 - the same attack for everyone
    shapes: list[list[float]] = []
    for edge in (59.999, 60.0, 60.001, 60.3, 60.6, 61.2, 65.0, 119.9, 120.0, 120.1):
        shapes.append([0.0] + [edge - 0.01] * 150 + [edge + 0.01] * 150 + [edge + 0.5] * 150)
        shapes.append([0.0] * 60 + [30.0] * 60 + [edge] * 150 + [edge + 30] * 150)
    # The sliding counter weighs the window before: fill its end, then ask as it fades.
    shapes.append([0.0, *([59.9] * 150), *(60 + step * 0.6 for step in range(100) for _ in range(3))])
    shapes += [sorted(chance.uniform(0, 180) for _ in range(600)) for _ in range(5)]
    for shape in shapes:
        base += 1000 * 60
        admitted = [at for at in (base + offset for offset in sorted(shape)) if ask(at)]
        first = 0
        for last, at in enumerate(admitted):
            while admitted[first] <= at - 60:
                first += 1
            most = max(most, last - first + 1)
    return most


def _count_admitted(
    uri: str, notation: str, tries: int, skew_seconds: float, results: multiprocessing.Queue[int]
) -> None:
    real_time = time.time
    with tell_time(lambda: real_time() + skew_seconds):
        engine = Engine(parse_storage_uri(uri), budget_ms=5000)
        plan = compile_plan(notation, scope="many")
        wait_until(lambda: not engine.decide(Charge(plan, "warm", 0)).is_local)
        admitted = [0] * CLIENTS_PER_PROCESS

        def run(place: int) -> None:
            for _ in range(tries):
                decision = engine.decide(Charge(plan, "many"))
                assert not decision.is_local
                admitted[place] += decision.is_admitted

        threads = [threading.Thread(target=run, args=(place,)) for place in range(CLIENTS_PER_PROCESS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        results.put(sum(admitted))
        engine.close()


def _count_peer_admitted(uri: str, notation: str, tries: int, skew_seconds: float) -> int:
    """Return how many a process of the peer admits whose clock is off."""
    real_time = time.time
    with tell_time(lambda: real_time() + skew_seconds):
        peer = Peer(uri, "moving-window", notation)
        return sum(peer.decide("many") for _ in range(tries))


def run_processes(
    work: Callable[..., None], uri: str, notation: str, *, tries: int, skews: tuple[float, ...] = (0, 0, 0, 0)
) -> int:
    """Return how many were admitted by as many processes as there are ``skews`` of their clocks."""
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[int] = context.Queue()
    workers = [context.Process(target=work, args=(uri, notation, tries, skew, results)) for skew in skews]
    for worker in workers:
        worker.start()
    total = sum(results.get(timeout=120) for _ in workers)
    for worker in workers:
        worker.join()
    return total


def bench_processes(report: Report, server: RedisServer) -> None:
    """Let 64 clients in 4 processes fight for one limit, on one server and on a cluster."""
    with running_cluster() as cluster:
        for name, uri in (("single Redis", f"redis://127.0.0.1:{server.port}/0"), ("Cluster", cluster.uri)):
            for notation, amount in (("100/hour", 100), ("1000/hour", 1000)):
                _flush(server)
                if name == "Cluster":
                    for one in cluster.masters():
                        _flush(one)
                admitted = run_processes(_count_admitted, uri, notation, tries=40)
                engine = Engine(parse_storage_uri(uri), budget_ms=1000)
                plan = compile_plan(notation, scope="many")
                wait_until(lambda plan=plan, engine=engine: not engine.decide(Charge(plan, "warm", 0)).is_local)  # type: ignore[misc]
                held = sum(held.units for held in engine.inspector.show("many"))
                engine.close()
                report.add(
                    f"64 clients over 4 processes, limit {amount}, {name}: admitted; held afterwards",
                    f"{amount}; {amount}",
                    ours=f"{admitted}; {held}",
                    peer="-",
                    result="refused requests consumed nothing",
                    is_reached=admitted == held == amount,
                )
            _bench_retries(report, name, uri)


def _bench_retries(report: Report, name: str, uri: str) -> None:
    engine = Engine(parse_storage_uri(uri), budget_ms=1000)
    admitted = asked = 0
    for notation in ("3/second", "200/2 second"):
        plan = compile_plan(notation, scope="retry")
        wait_until(lambda plan=plan: not engine.decide(Charge(plan, "warm", 0)).is_local)  # type: ignore[misc]
        for _ in range(8):
            decision = engine.decide(Charge(plan, "retry"))
            while decision.is_admitted:
                decision = engine.decide(Charge(plan, "retry"))
            time.sleep(decision.wait_us / US)
            asked += 1
            admitted += engine.decide(Charge(plan, "retry")).is_admitted
    engine.close()
    report.add(
        f"retries after exactly the wait that a refusal gave, {name}",
        "all admitted",
        ours=f"{admitted} of {asked}",
        peer="-",
        result="to the microsecond, not the second",
        is_reached=admitted == asked,
    )


def bench_clocks(report: Report, server: RedisServer) -> None:
    """Let hosts whose clocks are an hour off share one limit."""
    uri = f"redis://127.0.0.1:{server.port}/0"
    skews = (0.0, 3600.0, -3600.0, 0.0)
    _flush(server)
    ours = run_processes(_count_admitted, uri, "100/10 minutes", tries=20, skews=skews)
    _flush(server)
    # One after the other: had the fast clock come first, its entries from the future would shut everybody out.
    theirs = sum(_count_peer_admitted(uri, "100/10 minutes", 300, skew) for skew in sorted(skews))
    report.add(
        "four processes, two with clocks off by an hour, limit 100: admitted",
        "100",
        ours=str(ours),
        peer=f"{theirs} (moving-window)",
        result="Redis' clock decides",
        is_reached=ours == 100,
    )


def _flush(server: RedisServer) -> None:
    with server.client() as client:
        client.flushall()
