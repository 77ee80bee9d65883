"""The Redis store against the plain model, on a real server."""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from app.ratelimit import Charge, compile_plan
from app.ratelimit.redis import parse_storage_uri, scripts
from app.ratelimit.redis.connection import RedisConnection
from app.ratelimit.redis.protocol import ReplyError, pack_command
from gatehouse.testing.servers.redis import RedisServer
from tests.ratelimit_model import StoreMachine

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from app.ratelimit.store import Values
    from tests.ratelimit_model import ClockedStore


class ClockedRedisStore:
    """The real scripts on a real server, told the time by the test."""

    def __init__(self, connection: RedisConnection, machine: StoreMachine | SimpleNamespace) -> None:
        self._connection = connection
        self._machine = machine

    def decide(self, charges: Sequence[Charge]) -> Values:
        keys = [key.encode() for charge in charges for key in charge.plan.name_keys(charge.subject)]
        spec = b"".join(charge.plan.spec(charge.cost) for charge in charges)
        clock = b"%d" % self._machine.now
        payload = pack_command(b"EVALSHA", scripts.DECIDE.sha, b"%d" % len(keys), *keys, spec, clock)
        return scripts.read_values(self._ask(payload))

    def refund(self, charges: Sequence[Charge], stamps: Sequence[float]) -> None:
        self._ask(scripts.pack_refund(charges, stamps))

    def _ask(self, payload: bytes) -> bytes | int | None:
        reply = self._connection.exchange(payload, 1, deadline=float("inf"))[0]
        if isinstance(reply, Exception):
            raise reply
        return reply


@functools.cache
def _connection() -> tuple[RedisServer, RedisConnection]:
    server = RedisServer().start()
    uri = parse_storage_uri(f"redis://127.0.0.1:{server.port}")
    connection = RedisConnection(uri.make_connection(None, timeout_seconds=5), timeout_seconds=5)
    for reply in connection.exchange(scripts.LOAD_ALL, scripts.LOAD_ALL_COUNT, deadline=float("inf")):
        assert not isinstance(reply, ReplyError), reply
    return server, connection


@pytest.fixture(autouse=True, scope="module")
def _server() -> Iterator[None]:
    yield
    server, connection = _connection()
    connection.close()
    server.stop()


class RedisMachine(StoreMachine):
    def make_store(self) -> ClockedStore:
        _server, connection = _connection()
        connection.exchange(pack_command(b"FLUSHALL"), 1, deadline=float("inf"))
        return ClockedRedisStore(connection, self)


TestRedisAgainstModel = RedisMachine.TestCase
TestRedisAgainstModel.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("notation", ["100/minute", "1000/minute"])
def test_a_window_that_is_asked_again_is_kept_longer_also_after_its_first_units_have_left(notation: str) -> None:
    server, connection = _connection()
    plan = compile_plan(notation, scope="kept")
    (key,) = plan.name_keys("someone")
    clock = SimpleNamespace(now=1_800_000_000_000_000)
    store = ClockedRedisStore(connection, clock)
    with server.client() as client:
        for passed_seconds in (0, 50, 15):
            clock.now += passed_seconds * 1_000_000
            # As if that time had passed on the server too, where two minutes would soon be over.
            client.pexpire(key, 70_000)
            store.decide([Charge(plan, "someone")])
        assert client.pttl(key) > 110_000


def test_a_refusal_tells_when_more_comes_back_without_the_unit_that_it_did_not_take() -> None:
    _server, connection = _connection()
    plan = compile_plan("3/minute", scope="refused")
    store = ClockedRedisStore(connection, SimpleNamespace(now=1_800_000_000_000_000))
    one, full = Charge(plan, "one"), Charge(plan, "full", 3)
    store.decide([full])
    taken = store.decide([one])
    store.decide([one])
    store.refund([one], taken[5:])
    # What is left of the first stands in the microsecond after this one.
    refused = store.decide([one, full])
    assert refused[0] == 2
    assert refused[3:5] == (2, 60_000_001)
