"""What becomes of decisions when parts of a cluster go away or move."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Self

import pytest

from app.ratelimit import Charge, Engine, compile_plan, parse_storage_uri
from app.ratelimit.redis.cluster import find_slot
from gatehouse.testing.servers.redis import find_free_port, wait_until
from tests.servers.redis_clusters import Cluster, running_cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.ratelimit import Decision
    from gatehouse.testing.servers.redis import RedisServer

PLAN = compile_plan("100/hour;100000/day", scope="cluster")
GENEROUS_SECONDS = 0.5


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running_cluster() as one:
        yield one


@pytest.fixture
def engine(cluster: Cluster) -> Iterator[Engine]:
    wait_until(lambda: all(cluster.is_ok(server) for server in cluster.servers if server.process))
    one = Engine(parse_storage_uri(cluster.uri))
    wait_until(lambda: all(not one.decide(Charge(PLAN, f"warm {number}")).is_local for number in range(20)))
    yield one
    one.close()


class Load:
    """Decisions all the time, on a thread of their own, and the slowest of them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._plan = compile_plan("1000000/hour", scope="load")
        self._is_stopped = False
        self._longest = 0.0
        self._latest_wake = 0.0
        self.count = 0
        self._threads = [threading.Thread(target=work) for work in (self._decide, self._sleep)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._is_stopped = True
        for thread in self._threads:
            thread.join()

    @property
    def slowest_seconds(self) -> float:
        """What the slowest decision took, less what the machine is late by for whoever only sleeps."""
        return self._longest - self._latest_wake

    def _decide(self) -> None:
        while not self._is_stopped:
            started = time.monotonic()
            self._engine.decide(Charge(self._plan, f"load {self.count % 100}"))
            self._longest = max(self._longest, time.monotonic() - started)
            self.count += 1

    def _sleep(self) -> None:
        while not self._is_stopped:
            due = time.monotonic() + 0.005
            time.sleep(0.005)
            self._latest_wake = max(self._latest_wake, time.monotonic() - due)


def test_a_slot_moves_under_load_and_no_count_is_lost(cluster: Cluster) -> None:
    # With the usual budget a busy machine leaves some decisions to this process, beside the amount.
    engine = Engine(parse_storage_uri(cluster.uri), budget_ms=1000)
    subjects = (f"moving {number}" for number in range(100))

    def move() -> list[Decision]:
        subject = next(subjects)
        decisions = [engine.decide(Charge(PLAN, subject)) for _ in range(20)]
        mover = threading.Thread(target=cluster.move_slot, args=(find_slot(subject),), kwargs={"pause_seconds": 0.05})
        mover.start()
        while mover.is_alive():
            decisions.append(engine.decide(Charge(PLAN, subject)))
            time.sleep(0.005)
        mover.join()
        return [*decisions, *(engine.decide(Charge(PLAN, subject)) for _ in range(150))]

    def is_exact() -> bool:
        decisions = move()
        if any(decision.is_local for decision in decisions):
            return False
        assert sum(decision.is_admitted for decision in decisions) == 100
        return True

    wait_until(is_exact, what="a move during which the store decided all")
    assert not engine.is_degraded
    engine.close()


def test_a_failover_by_hand_costs_no_request(cluster: Cluster, engine: Engine) -> None:
    master = cluster.find_owner(find_slot("failover"))
    replica = find_replica(cluster, master.port)
    with Load(engine) as load:
        with replica.client() as client:
            client.execute_command("CLUSTER FAILOVER")
        wait_until(lambda: cluster.find_owner(find_slot("failover")) is replica)
        wait_until(lambda: not engine.decide(Charge(PLAN, "failover")).is_local)
    assert load.slowest_seconds < GENEROUS_SECONDS
    wait_until(lambda: not engine.is_degraded)


def test_a_frozen_master_takes_only_its_own_subjects_with_it(cluster: Cluster, engine: Engine) -> None:
    master = cluster.find_owner(find_slot("frozen"))
    others = [f"other {number}" for number in range(50)]
    elsewhere = [one for one in others if cluster.find_owner(find_slot(one)) is not master]
    with Load(engine) as load:
        master.freeze()
        try:
            assert engine.decide(Charge(PLAN, "frozen")).is_local
            assert not any(engine.decide(Charge(PLAN, subject)).is_local for subject in elsewhere[:10])
            # The replica takes over, and the engine follows, although the frozen master never said a word.
            wait_until(lambda: not engine.decide(Charge(PLAN, "frozen")).is_local, what="the replica's first decision")
        finally:
            master.thaw()
    assert load.slowest_seconds < GENEROUS_SECONDS
    wait_until(lambda: not engine.is_degraded)


def test_a_killed_master_is_replaced_by_its_replica(cluster: Cluster, engine: Engine) -> None:
    wait_until(lambda: len(cluster.masters()) == 3)
    master = cluster.find_owner(find_slot("killed"))
    wait_until(lambda: find_replica(cluster, master.port) is not None)
    with Load(engine) as load:
        master.kill()
        assert engine.decide(Charge(PLAN, "killed")).is_admitted
        wait_until(lambda: not engine.decide(Charge(PLAN, "killed")).is_local, what="the replica's first decision")
        wait_until(lambda: not engine.is_degraded)
    assert load.slowest_seconds < GENEROUS_SECONDS
    master.start()
    wait_until(lambda: cluster.is_ok(master))


def test_a_replica_that_lagged_behind_its_master_gives_no_process_a_second_chance(
    cluster: Cluster, engine: Engine
) -> None:
    guesses = Charge(compile_plan("10/hour", scope="guesses", is_strict=True), "lagging")
    wait_until(lambda: len(cluster.masters()) == 3)
    master = cluster.find_owner(find_slot("lagging"))
    wait_until(lambda: find_replica(cluster, master.port) is not None)
    replica = find_replica(cluster, master.port)
    assert all(engine.decide(guesses).is_admitted for _ in range(10))
    with replica.client() as client:
        client.execute_command("CLUSTER FAILOVER")
        wait_until(lambda: replica in cluster.masters())
        # As if it had never heard of them.
        client.flushall()
    # The first is still sent to the old master, which redirects it.
    assert not any(engine.decide(guesses).is_admitted for _ in range(30))
    wait_until(lambda: not engine.decide(guesses._replace(cost=0)).is_local)
    assert not engine.decide(guesses).is_admitted


def test_a_cluster_may_be_away_at_the_start() -> None:
    engine = Engine(parse_storage_uri(f"redis+cluster://127.0.0.1:{find_free_port()},127.0.0.1:{find_free_port()}"))
    started = time.monotonic()
    for _ in range(20):
        assert engine.decide(Charge(PLAN, "early")).is_local
    assert time.monotonic() - started < GENEROUS_SECONDS
    assert engine.is_degraded
    engine.close()


def find_replica(cluster: Cluster, master_port: int) -> RedisServer:
    for server in cluster.servers:
        if server.process is None:
            continue
        with server.client() as client:
            info = client.info("replication")
            if info["role"] == "slave" and info["master_port"] == master_port and info["master_link_status"] == "up":
                return server
    raise OSError("the replica is not there yet")
