"""What windows cost: bytes in Redis, time at large limits, bytes in this process."""

from __future__ import annotations

import gc
import statistics
import time
import tracemalloc
from typing import TYPE_CHECKING

import limits
from limits.storage import storage_from_string
from limits.strategies import MovingWindowRateLimiter

from app.ratelimit import Charge, Engine, Plan, compile_plan, encode_subject, parse_storage_uri
from app.ratelimit.memory import MAX_WINDOWS_DEFAULT, MemoryStore
from app.ratelimit.redis.scripts import pack_merge
from bench.measure import Report, interleave, ratio_of
from gatehouse.testing.servers.redis import wait_until

if TYPE_CHECKING:
    from gatehouse.testing.servers.redis import RedisServer

LARGEST_BYTES = 2700
STEPS = 100
COST_SUBJECTS = 100
COST_ASKED = 20


def fill(engine: Engine, plan: Plan, subject: str, *, short_of: int = 0) -> None:
    """Fill the one window of ``plan`` evenly, but for ``short_of`` units."""
    wait_until(lambda: not engine.decide(Charge(plan, subject, 0)).is_local)
    topology = engine._topology  # noqa: SLF001 - no request could do this in less than a window
    assert topology is not None
    (limit,) = plan.limits
    amount = limit.amount - short_of
    steps = STEPS if limit.bucket_us else amount
    merges = []
    for step in range(steps):
        cost = amount * (step + 1) // steps - amount * step // steps
        age_us = limit.window_us * (steps - 1 - step) // (steps + 1)
        merges.append(pack_merge(Charge(plan, subject, cost), age_us=age_us))
    topology.servers[0].call(b"".join(merges), len(merges), now=time.monotonic())


def bench_bytes(report: Report, server: RedisServer) -> None:
    """Measure a full window's bytes in Redis."""
    uri = f"redis://127.0.0.1:{server.port}/0"
    engine = Engine(parse_storage_uri(uri), budget_ms=1000)
    peer = MovingWindowRateLimiter(storage_from_string(uri))
    with server.client() as client:
        for amount in (100, 120, 1_000, 10_000, 100_000, 1_000_000):
            client.flushall()
            plan = compile_plan(f"{amount}/hour", scope="bytes")
            fill(engine, plan, "someone")
            (key,) = plan.name_keys("someone")
            ours = client.memory_usage(key, samples=0)
            item = limits.parse(f"{amount}/hour")
            peer_key = peer.storage.prefixed_key(item.key_for("someone"))  # type: ignore[attr-defined]
            for _ in range(0, amount, 10_000):
                client.lpush(peer_key, *([time.time()] * min(amount, 10_000)))
            theirs = client.memory_usage(peer_key, samples=0)
            report.add(
                f"bytes of a full window in Redis, limit {amount:,}",
                f"≤ {LARGEST_BYTES:,}",
                ours=f"{ours:,}",
                peer=f"{theirs:,} (moving-window)",
                result=f"{client.object('encoding', key).decode()}",
                is_reached=ours <= LARGEST_BYTES,
            )
    engine.close()


def bench_window_cost(report: Report, server: RedisServer) -> None:
    """Measure a decision at a nearly full window of 100,000 against one of 100."""
    engine = Engine(parse_storage_uri(f"redis://127.0.0.1:{server.port}/0"), budget_ms=1000)
    plans = {amount: compile_plan(f"{amount}/day", scope="cost") for amount in (100, 100_000)}
    on_server: dict[int, list[float]] = {amount: [] for amount in plans}

    def run(amount: int) -> float:
        subjects = [f"cost:{number}" for number in range(COST_SUBJECTS)]
        with server.client() as client:
            client.flushall()
            for subject in subjects:
                fill(engine, plans[amount], subject, short_of=COST_ASKED)
            client.config_resetstat()
            started = time.perf_counter()
            for _ in range(COST_ASKED):
                for subject in subjects:
                    assert engine.decide(Charge(plans[amount], subject)).is_admitted
            took = time.perf_counter() - started
            on_server[amount].append(client.info("commandstats")["cmdstat_evalsha"]["usec_per_call"])
        return took / (COST_SUBJECTS * COST_ASKED) * 1e6

    medians = interleave({str(amount): lambda amount=amount: run(amount) for amount in plans})  # type: ignore[misc]
    ratio = ratio_of(medians["100000"], medians["100"])
    report.add(
        "cost of a decision at a window of 100,000 against one of 100",
        "≤ 1.2 x",
        ours=f"{medians['100000']:.0f} µs",
        peer=f"{medians['100']:.0f} µs at 100",
        result=f"{ratio:.2f} x",
        is_reached=ratio <= 1.2,
    )
    cost = {amount: statistics.median(values) for amount, values in on_server.items()}
    report.add(
        "the same, the server's own time",
        "(for comparison)",
        ours=f"{cost[100_000]:.1f} µs",
        peer=f"{cost[100]:.1f} µs at 100",
        result=f"{ratio_of(cost[100_000], cost[100]):.2f} x",
        is_reached=True,
    )
    engine.close()


def bench_many_keys(report: Report) -> None:
    """Measure this process's memory with the most windows that it keeps."""
    plan = compile_plan("100/minute")
    names = [encode_subject(f"user:{number}") for number in range(MAX_WINDOWS_DEFAULT + 20_000)]
    gc.collect()
    tracemalloc.start()
    store = MemoryStore()
    for name in names:
        store.decide([Charge(plan, name)])
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    report.add(
        f"memory:// asked about {len(names):,} keys: windows kept, and their bytes",
        f"≤ {MAX_WINDOWS_DEFAULT:,}, ≤ 120 MB",
        ours=f"{len(store):,}, {used / 1e6:.0f} MB",
        peer="no bound",
        result=f"{used / len(store):.0f} B a window",
        is_reached=len(store) <= MAX_WINDOWS_DEFAULT and used <= 120e6,
    )
