"""Decisions while a store is frozen, killed, failed over or moved: how slow, how many, and back how soon."""

from __future__ import annotations

import contextlib
import gc
import threading
import time
from typing import TYPE_CHECKING, NamedTuple, Self

from redis.exceptions import ResponseError

from app.ratelimit import Charge, Engine, compile_plan, parse_storage_uri
from app.ratelimit.redis.cluster import find_slot
from bench.measure import Report, percentile
from gatehouse.testing.servers.redis import running, wait_until
from tests.servers.redis_clusters import running_cluster, running_sentinels

if TYPE_CHECKING:
    from gatehouse.testing.servers.redis import RedisServer
    from tests.servers.redis_clusters import Cluster

THREADS = 8
# A decision that waited for the store; a thread that merely waited for its turn on a busy core is quicker.
SLOW_SECONDS = 0.015
# What the slowest decision may take while a store falls silent: a budget, and for strict limits the patience as well.
SLOWEST_SECONDS = 0.030
SLOWEST_STRICT_SECONDS = 0.300
PAUSE_SECONDS = 0.002
CLUSTER_SLOWEST_SECONDS = 0.1


class Row(NamedTuple):
    """One decision: when it began, how long it took, whether this process made it by itself, by a strict limit."""

    began_at: float
    took: float
    is_local: bool
    is_strict: bool


class Load:
    """Threads that decide all the time, with a short pause as between requests; every duration is kept."""

    def __init__(self, engine: Engine, *, threads: int = THREADS, subjects: int = 200) -> None:
        self._engine = engine
        self._plan = compile_plan("1000000/hour", scope="load")
        self._guesses = compile_plan("10/hour", scope="guesses", is_strict=True)
        self._subjects = subjects
        self._is_stopped = False
        self.rows: list[list[Row]] = [[] for _ in range(threads)]
        # (when it was due to wake, how much later it did): what the machine's other work costs whoever only sleeps
        self.delays: list[list[tuple[float, float]]] = [[] for _ in range(threads)]
        self.guesses_admitted = [0] * threads
        self.errors: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run, args=(place,)) for place in range(threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._is_stopped = True
        for thread in self._threads:
            thread.join()

    def _run(self, place: int) -> None:
        number = place
        try:
            while not self._is_stopped:
                number += THREADS
                is_guess = number % 5 == 0
                charge = (
                    Charge(self._guesses, "victim") if is_guess else Charge(self._plan, f"s{number % self._subjects}")
                )
                started = time.monotonic()
                decision = self._engine.decide(charge)
                self.rows[place].append(Row(started, time.monotonic() - started, decision.is_local, is_guess))
                if is_guess:
                    self.guesses_admitted[place] += decision.is_admitted
                due = time.monotonic() + PAUSE_SECONDS
                time.sleep(PAUSE_SECONDS)
                self.delays[place].append((due, time.monotonic() - due))
        except BaseException as error:  # noqa: BLE001 - counted as an error of the run
            self.errors.append(error)

    def between(self, begin: float, end: float, *, is_strict: bool) -> list[list[float]]:
        """Return the durations of the decisions of that kind that began in that time, for each thread."""
        return [
            [row.took for row in rows if begin <= row.began_at < end and row.is_strict is is_strict]
            for rows in self.rows
        ]

    def latest_wake(self, begin: float, end: float) -> float:
        """Return by how much a mere sleep that ended in that time was too long, at worst."""
        return max((late for rows in self.delays for due, late in rows if begin <= due < end), default=0.0)

    def slowest(self, *, is_strict: bool) -> float:
        """Return the longest decision of that kind."""
        return max(row.took for rows in self.rows for row in rows if row.is_strict is is_strict)

    def count(self) -> int:
        """Return how many decisions there were."""
        return sum(len(rows) for rows in self.rows)

    def first_remote_after(self, instant: float) -> float:
        """Return when the store first decided again after ``instant``."""
        return min(
            (row.began_at for rows in self.rows for row in rows if row.began_at > instant and not row.is_local),
            default=1e9,
        )


def _report_silence(report: Report, load: Load, frozen_at: float, thawed_at: float) -> list[float]:
    """Report the slow decisions while the server was frozen; return how long the others took."""
    rest: list[float] = []
    for kind, is_strict, most_seconds in (
        ("decisions", False, SLOWEST_SECONDS),
        ("decisions by a strict limit", True, SLOWEST_STRICT_SECONDS),
    ):
        during = load.between(frozen_at - 0.05, thawed_at, is_strict=is_strict)
        slow = [sum(took > SLOW_SECONDS for took in rows) for rows in during]
        everything = sorted(took for rows in during for took in rows)
        report.add(
            f"Redis silent for {thawed_at - frozen_at:.0f} s, {THREADS} threads: slow {kind} of a thread; the slowest",
            f"≤ 1; ≤ {most_seconds * 1000:.0f} ms",
            ours=f"{max(slow)}; {everything[-1] * 1000:.1f} ms",
            peer="5 to 10 s each (redis-py's own timeouts)",
            result=f"{len(everything):,} decisions, {len(load.errors)} errors;"
            f" a sleep took up to {load.latest_wake(frozen_at - 0.05, thawed_at) * 1000:.1f} ms too long",
            is_reached=max(slow) <= 1 and everything[-1] <= most_seconds and not load.errors,
        )
        # The one slow try of each thread is judged by the line above; the rest is what requests live with.
        rest += everything[: len(everything) - sum(slow)]
    return rest


def bench_frozen(report: Report, *, seconds: float) -> None:
    """Freeze a server under load, and let it thaw."""
    with running() as server:
        engine = Engine(parse_storage_uri(f"redis://127.0.0.1:{server.port}/0"))
        wait_until(lambda: not engine.decide(Charge(compile_plan("9/hour"), "warm", 0)).is_local)
        merged = compile_plan("1000/hour", scope="merged")
        # A full collection of this program and its peers stops every thread for up to 60 ms: not the limiter's doing.
        gc.collect()
        gc.freeze()
        with Load(engine) as load:
            time.sleep(1)
            server.freeze()
            frozen_at = time.monotonic()
            time.sleep(1)
            made_meanwhile = sum(engine.decide(Charge(merged, "m")).is_admitted for _ in range(100))
            time.sleep(max(0.0, seconds - 1))
            server.thaw()
            thawed_at = time.monotonic()
            time.sleep(3)
        after = engine.decide(Charge(merged, "m", 0))
        engine.close()
    rest = _report_silence(report, load, frozen_at, thawed_at)
    p99_ms = percentile(rest, 0.99) * 1000
    report.add(
        "the same: 99th percentile of the rest",
        "≤ 0.3 ms",
        ours=f"{p99_ms:.3f} ms",
        peer="-",
        result=f"median {percentile(rest, 0.5) * 1000:.3f} ms",
        is_reached=p99_ms <= 0.3,
    )
    report.add(
        "the same: guesses admitted before, during and after together, limit 10",
        "≤ 10",
        ours=str(sum(load.guesses_admitted)),
        peer="unlimited (swallow_errors) or all refused",
        result="",
        is_reached=sum(load.guesses_admitted) <= 10,
    )
    back_after = load.first_remote_after(thawed_at) - thawed_at
    paid = [row.took for rows in load.rows for row in rows if thawed_at <= row.began_at < thawed_at + 3]
    report.add(
        "recovery after Redis returns; the slowest decision meanwhile",
        "≤ 1.2 s; no probe paid for",
        ours=f"{back_after:.2f} s; {max(paid) * 1000:.1f} ms",
        peer="up to 32 s late",
        result=f"99th percentile {percentile(paid, 0.99) * 1000:.2f} ms;"
        f" a sleep took up to {load.latest_wake(thawed_at, thawed_at + 3) * 1000:.1f} ms too long",
        is_reached=back_after <= 1.2 and max(paid) <= 0.030,
    )
    held = 1000 - after.outcomes[0].remaining
    report.add(
        "counts made meanwhile that the store knows afterwards",
        f"{made_meanwhile}",
        ours=str(held),
        peer="0",
        result="told with the subject's next decision",
        is_reached=held >= made_meanwhile and not after.is_local,
    )


def bench_cluster(report: Report, *, failovers: int) -> None:
    """Kill, freeze, fail over and move parts of a cluster under load."""
    with running_cluster() as cluster:
        engine = Engine(parse_storage_uri(cluster.uri))
        wait_until(
            lambda: all(not engine.decide(Charge(compile_plan("9/hour"), f"w{n}", 0)).is_local for n in range(30))
        )
        with Load(engine, threads=4) as load:
            for number in range(10):
                cluster.move_slot(find_slot(f"s{number}"), pause_seconds=0.01)
        _report_group(report, "Cluster: 10 slots moved under load", load, engine)
        with Load(engine, threads=4) as load:
            for number in range(failovers):
                _fail_over(cluster, number)
        _report_group(report, f"Cluster: failover x {failovers}", load, engine)
        victim = _find_victim(cluster)
        with Load(engine, threads=4) as load:
            victim.freeze()
            _wait_for_masters(cluster, victim)
            victim.thaw()
            time.sleep(2)
        _report_group(report, "Cluster: master frozen", load, engine)
        victim = _find_victim(cluster)
        with Load(engine, threads=4) as load:
            victim.kill()
            _wait_for_masters(cluster, victim)
            wait_until(lambda: not engine.is_degraded)
        _report_group(report, "Cluster: master killed", load, engine)
        engine.close()


def _report_group(report: Report, what: str, load: Load, engine: Engine) -> None:
    wait_until(lambda: not engine.is_degraded, what=f"the end of: {what}")
    slowest, slowest_strict = load.slowest(is_strict=False), load.slowest(is_strict=True)
    local = sum(row.is_local for rows in load.rows for row in rows)
    report.add(
        f"{what}: the slowest decision, and by a strict limit; errors",
        f"≤ {CLUSTER_SLOWEST_SECONDS * 1000:.0f} ms, ≤ {SLOWEST_STRICT_SECONDS * 1000:.0f} ms; 0",
        ours=f"{slowest * 1000:.1f} ms, {slowest_strict * 1000:.1f} ms; {len(load.errors)}",
        peer="0.60 s a call with redis-py's default retries (frozen)",
        result=f"{load.count():,} decisions, {local:,} of them by this process",
        is_reached=slowest <= CLUSTER_SLOWEST_SECONDS and slowest_strict <= SLOWEST_STRICT_SECONDS and not load.errors,
    )


def _find_victim(cluster: Cluster) -> RedisServer:
    """Return a master that decides about subjects of the load, once every failover is over.

    Whoever was master a moment ago still says so, and owns nothing.
    """
    wait_until(lambda: len(cluster.masters()) == 3)
    wait_until(lambda: _replicas_are_up(cluster))
    return cluster.find_owner(find_slot("s0"))


def _replicas_are_up(cluster: Cluster) -> bool:
    for server in cluster.servers:
        if server.process is not None:
            with server.client() as client:
                info = client.info("replication")
                if info["role"] == "slave" and info["master_link_status"] != "up":
                    return False
    return True


def _fail_over(cluster: Cluster, number: int) -> None:
    wait_until(lambda: _replicas_are_up(cluster))
    replicas = [server for server in cluster.servers if server not in cluster.masters()]
    replica = replicas[number % len(replicas)]
    for _ in range(5):
        # A failover by hand that takes over 5 s is given up by the cluster itself: on a busy machine, ask again.
        with replica.client() as client, contextlib.suppress(ResponseError):
            client.execute_command("CLUSTER FAILOVER")
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: replica in cluster.masters(), seconds=6)
            return
    raise TimeoutError("the failover by hand did not happen")


def _wait_for_masters(cluster: Cluster, gone: RedisServer) -> None:
    wait_until(lambda: len([server for server in cluster.masters() if server is not gone]) == 3, seconds=30)
    time.sleep(1)


def bench_sentinel(report: Report) -> None:
    """Kill the master of a pair under sentinels."""
    with running_sentinels() as group:
        engine = Engine(parse_storage_uri(group.uri))
        wait_until(lambda: not engine.decide(Charge(compile_plan("9/hour"), "warm", 0)).is_local)
        old_port = group.find_master_port()
        with Load(engine, threads=4) as load:
            time.sleep(0.5)
            next(server for server in group.servers if server.port == old_port).kill()
            wait_until(lambda: group.find_master_port() != old_port, seconds=30)
            wait_until(lambda: not engine.is_degraded)
            time.sleep(1)
        _report_group(report, "Sentinel: master killed, replica promoted", load, engine)
        engine.close()
