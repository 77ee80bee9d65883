"""Decisions a second: against Flask-Limiter's strategies, against a bare script, and in a whole Flask request."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Any

from flask import Flask
from flask_limiter import Limiter as FlaskLimiter
from limits.storage import MemoryStorage

from app.ratelimit import Charge, Engine, Limiter, address, compile_plan, parse_storage_uri, rate_limit
from app.ratelimit.redis.protocol import pack_command
from app.ratelimit.redis.scripts import pack_merge
from bench.measure import Report, count_per_second, interleave, ratio_of
from bench.ratelimit.peers import Peer
from gatehouse.testing.servers.redis import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gatehouse.testing.servers.redis import RedisServer

REALISTIC = "100/minute;1000/hour;10000/day"
FULL = "100/minute;500/hour;1000/day"
SUBJECTS = 5000
FULL_SUBJECTS = 4000
MEMORY_FILLS = 12
SECONDS = 0.8
TARGETS = {
    1: {"moving-window": 4.5, "fixed-window": 3.0, "bare": 0.7},
    8: {"moving-window": 12.0, "fixed-window": 8.0, "bare": 0.6},
}


@contextlib.contextmanager
def apart(server: RedisServer) -> Iterator[None]:
    """Keep this process and the server on cores of their own inside the block, as on two hosts.

    On one core a round trip is a switch between two processes, and costs a seventh of what it costs anywhere else.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(cores) < 2 or server.process is None:
        yield
        return
    os.sched_setaffinity(server.process.pid, {cores[1]})
    os.sched_setaffinity(0, {cores[0]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, set(cores))
        os.sched_setaffinity(server.process.pid, set(cores))


def bench_decisions(report: Report, server: RedisServer, *, seconds: float = SECONDS) -> None:
    """Measure decisions with three limits and all that headers need."""
    uri = f"redis://127.0.0.1:{server.port}/0"
    engine = Engine(parse_storage_uri(uri), budget_ms=1000)
    bare = _make_bare(engine, server)
    names = [f"user:{number}" for number in range(SUBJECTS)]
    for threads in (1, 8):
        plan = compile_plan(REALISTIC, scope=f"realistic{threads}")
        peers = {name: Peer(uri, name, REALISTIC) for name in ("moving-window", "fixed-window")}
        contestants: dict[str, Callable[[int], object]] = {
            "ours": lambda number, plan=plan: engine.decide(Charge(plan, names[number % SUBJECTS])),  # type: ignore[misc]
            "bare": bare,
        }
        for name, peer in peers.items():
            contestants[name] = lambda number, peer=peer: peer.decide(names[number % SUBJECTS])  # type: ignore[misc]
        runs = {
            name: lambda work=work, threads=threads: _flush_and_count(server, work, threads, seconds)
            for name, work in contestants.items()
        }
        _report(report, "realistic windows", threads, interleave(runs))
    for threads in (1, 8):
        _report(report, "full windows", threads, _bench_full(server, engine, bare, uri, threads))
    engine.close()


def _make_bare(engine: Engine, server: RedisServer) -> Callable[[int], object]:
    """Return the floor: ``EVALSHA "return 1"`` through the very same connections."""
    wait_until(lambda: not engine.decide(Charge(compile_plan("9/minute"), "warm", 0)).is_local)
    with server.client() as client:
        sha = client.script_load("return 1").encode()
    payload = pack_command(b"EVALSHA", sha, b"1", b"x")
    topology = engine._topology  # noqa: SLF001 - the same client is the point
    assert topology is not None
    store = topology.servers[0]
    return lambda _number: store.call(payload, 1, now=time.monotonic())


def _flush_and_count(server: RedisServer, work: Callable[[int], object], threads: int, seconds: float) -> float:
    with server.client() as client:
        client.flushall()
    return count_per_second(work, threads=threads, seconds=seconds)


def _bench_full(
    server: RedisServer, engine: Engine, bare: Callable[[int], object], uri: str, threads: int
) -> dict[str, float]:
    """Ask once for each subject of whom every window lacks one unit."""
    plan = compile_plan(FULL, scope=f"full{threads}")
    moving = Peer(uri, "moving-window", FULL)
    fixed = Peer(uri, "fixed-window", FULL)
    store = engine._topology.servers[0]  # type: ignore[union-attr] # noqa: SLF001 - as above
    generation = [0]

    def prepare(fill: Callable[[str], object]) -> list[str]:
        generation[0] += 1
        with server.client() as client:
            client.flushall()
        names = [f"full:{generation[0]}:{number}" for number in range(FULL_SUBJECTS)]
        for name in names:
            fill(name)
        return names

    def fill_ours(name: str) -> None:
        for limit in plan.limits:
            alone = type(plan)([limit])
            steps = 1 if not limit.bucket_us else 20
            charge = Charge(alone, name, (limit.amount - 1) // steps)
            merges = [pack_merge(charge, age_us=limit.window_us * (steps - step) // 25) for step in range(steps)]
            store.call(b"".join(merges), len(merges), now=time.monotonic())

    def run_once(names: list[str], ask: Callable[[str], object]) -> float:
        places = iter(names)
        return _count_items(list(places), ask, threads)

    def fill_moving(name: str) -> None:
        with server.client() as client:
            moving.fill(client, name)

    runs: dict[str, Callable[[], float]] = {
        "ours": lambda: run_once(prepare(fill_ours), lambda name: engine.decide(Charge(plan, name))),
        "bare": lambda: run_once(prepare(lambda _name: None) * 4, lambda _name: bare(0)),
        "moving-window": lambda: run_once(prepare(fill_moving), moving.decide),
        "fixed-window": lambda: run_once(prepare(lambda _name: None), fixed.decide),
    }
    return interleave(runs)


def _count_items(names: list[str], ask: Callable[[str], object], threads: int) -> float:
    import threading  # noqa: PLC0415

    shares = [names[place::threads] for place in range(threads)]
    barrier = threading.Barrier(threads + 1)

    def run(share: list[str]) -> None:
        barrier.wait()
        for name in share:
            ask(name)

    workers = [threading.Thread(target=run, args=(share,)) for share in shares]
    for worker in workers:
        worker.start()
    barrier.wait()
    started = time.perf_counter()
    for worker in workers:
        worker.join()
    return len(names) / (time.perf_counter() - started)


def _report(report: Report, what: str, threads: int, medians: dict[str, float]) -> None:
    ours = medians["ours"]
    for peer in ("moving-window", "fixed-window", "bare"):
        target = TARGETS[threads][peer]
        ratio = ratio_of(ours, medians[peer])
        name = 'EVALSHA "return 1", same client' if peer == "bare" else f"Flask-Limiter {peer}"
        report.add(
            f"decisions/s, 3 limits with header data, {what}, {threads} thread{'s' * (threads > 1)}, against {name}",
            f"≥ {target} x",
            ours=f"{ours:,.0f}",
            peer=f"{medians[peer]:,.0f}",
            result=f"{ratio:.2f} x",
            is_reached=ratio >= target,
        )


def bench_flask(report: Report, server: RedisServer, *, seconds: float = SECONDS) -> None:
    """Measure whole requests, each through the WSGI interface."""
    uri = f"redis://127.0.0.1:{server.port}/0"
    apps = {"ours": _make_app(uri)}
    for strategy in ("moving-window", "fixed-window"):
        apps[strategy] = _make_peer_app(uri, strategy)
    runs = {
        name: lambda app=app: _flush_and_count(server, lambda number: _ask(app, number), 1, seconds)
        for name, app in apps.items()
    }
    medians = interleave(runs)
    for peer, target in (("moving-window", 4.0), ("fixed-window", 0.0)):
        ratio = ratio_of(medians["ours"], medians[peer])
        report.add(
            f"whole Flask requests/s with three limits, against Flask-Limiter {peer}",
            f"≥ {target:g} x" if target else "(for comparison)",
            ours=f"{medians['ours']:,.0f}",
            peer=f"{medians[peer]:,.0f}",
            result=f"{ratio:.2f} x",
            is_reached=ratio >= target,
        )


def _make_app(uri: str) -> Flask:
    app = Flask("ours")
    Limiter().init_app(app, storage=parse_storage_uri(uri), budget_ms=1000)
    app.get("/", endpoint="home")(rate_limit(REALISTIC, by=address)(lambda: "home"))
    return app


def _make_peer_app(uri: str, strategy: str) -> Flask:
    app = Flask(strategy)
    peer = FlaskLimiter(
        lambda: __import__("flask").request.remote_addr, storage_uri=uri, strategy=strategy, headers_enabled=True
    )
    peer.init_app(app)
    app.get("/", endpoint="home")(peer.limit(REALISTIC)(lambda: "home"))
    return app


def _ask(app: Flask, number: int) -> None:
    number %= SUBJECTS
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "REMOTE_ADDR": f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",
        "wsgi.url_scheme": "http",
        "wsgi.input": None,
        "wsgi.errors": None,
    }
    status: list[str] = []

    def start_response(line: str, _headers: object, _info: object = None, /) -> Callable[[bytes], object]:
        status.append(line)
        return lambda _data: None

    for _chunk in app(environ, start_response):
        pass
    assert status[0].startswith("200"), status


def bench_memory_store(report: Report) -> None:
    """Measure the memory store against limits' memory moving window: the same subjects, asked equally often."""
    plan = compile_plan(REALISTIC, scope="memory")
    names = [f"user:{number}" for number in range(SUBJECTS)] * MEMORY_FILLS

    def run_ours() -> float:
        engine = Engine()
        return _count_items(names, lambda name: engine.decide(Charge(plan, name)), 1)

    def run_peer() -> float:
        peer = Peer("memory://", "moving-window", REALISTIC)
        assert isinstance(peer.limiter.storage, MemoryStorage)
        rate = _count_items(names, peer.decide, 1)
        # Its thread that drops expired entries goes on for a while, and would run in our next round.
        peer.limiter.storage.timer.join()
        return rate

    medians = interleave({"ours": run_ours, "peer": run_peer})
    ratio = ratio_of(medians["ours"], medians["peer"])
    report.add(
        f"memory://, 3 limits with header data, {SUBJECTS} subjects asked {MEMORY_FILLS} times,"
        " against limits' memory moving window",
        "≥ 6 x",
        ours=f"{medians['ours']:,.0f}/s",
        peer=f"{medians['peer']:,.0f}/s",
        result=f"{ratio:.2f} x",
        is_reached=ratio >= 6,
    )
