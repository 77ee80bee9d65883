"""What a strict limit of 10 admits in all, by processes whose store is late, empty, or away for some of them.

Each process is played by a limiter with connections and a memory of its own.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from app.ratelimit import Charge, Engine, compile_plan
from app.ratelimit.redis.storage_uri import parse_storage_uri
from gatehouse.testing.servers.redis import running, wait_until
from tests.servers.harness.proxy import Fault, Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.measure import Report
    from gatehouse.testing.servers.redis import RedisServer

AMOUNT = 10
PROCESSES = (2, 4, 8)
STRICT = compile_plan(f"{AMOUNT}/hour", scope="guesses", is_strict=True)
LATE = Fault(delay_seconds=0.05)


def bench_strict(report: Report) -> None:
    """Guess by all processes in turn, and compare what is admitted with what docs/ratelimit.md promises."""
    scenes: dict[str, tuple[Callable[[RedisServer, Proxy, ExitStack, int], int], Callable[[int], int]]] = {
        "whose store answers late": (_be_late, lambda _: AMOUNT),
        "whose store comes back empty": (_come_back_empty, lambda _: 2 * AMOUNT),
        "all but one of them cut off": (_cut_off, lambda count: AMOUNT + (count - 1) * max(1, AMOUNT // count)),
        "whose store is away": (_be_away, lambda count: max(AMOUNT, count)),
    }
    for scene, (play, promise) in scenes.items():
        for count in PROCESSES:
            with ExitStack() as stack:
                server = stack.enter_context(running())
                admitted = play(server, stack.enter_context(Proxy(server.port)), stack, count)
            report.add(
                f"admitted by {count} processes {scene}, strict limit {AMOUNT}",
                f"≤ {promise(count)}",
                ours=str(admitted),
                peer="-",
                result="",
                is_reached=admitted <= promise(count),
            )


def _start(stack: ExitStack, *ports: int) -> list[Engine]:
    engines = [Engine(parse_storage_uri(f"redis://127.0.0.1:{port}"), workers=len(ports)) for port in ports]
    for engine in engines:
        stack.callback(engine.close)
        wait_until(lambda engine=engine: not engine.decide(Charge(STRICT, "warm", 0)).is_local)  # type: ignore[misc]
    return engines


def _guess(engines: Sequence[Engine], times: int = 3 * AMOUNT) -> int:
    return sum(engine.decide(Charge(STRICT, "victim")).is_admitted for _ in range(times) for engine in engines)


def _wait_until_away(engines: Sequence[Engine]) -> None:
    wait_until(lambda: all(engine.decide(Charge(STRICT, "warm", 0)).is_local for engine in engines))


def _be_late(_server: RedisServer, proxy: Proxy, stack: ExitStack, count: int) -> int:
    engines = _start(stack, *[proxy.port] * count)
    proxy.fault = LATE
    # Enough to be refused, and not many: each waits.
    return _guess(engines, times=2 * AMOUNT // count)


def _come_back_empty(server: RedisServer, _proxy: Proxy, stack: ExitStack, count: int) -> int:
    engines = _start(stack, *[server.port] * count)
    # By one of them: the others do not know of it when the store has forgotten.
    before = _guess(engines[:1])
    server.kill()
    server.start()
    wait_until(lambda: not any(engine.decide(Charge(STRICT, "warm", 0)).is_local for engine in engines))
    return before + _guess(engines)


def _cut_off(server: RedisServer, proxy: Proxy, stack: ExitStack, count: int) -> int:
    engines = _start(stack, server.port, *[proxy.port] * (count - 1))
    proxy.refuse()
    _wait_until_away(engines[1:])
    return _guess(engines)


def _be_away(server: RedisServer, _proxy: Proxy, stack: ExitStack, count: int) -> int:
    engines = _start(stack, *[server.port] * count)
    server.kill()
    _wait_until_away(engines)
    return _guess(engines)
