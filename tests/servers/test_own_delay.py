"""A process that was late itself, because others had the processor, blames nobody else for it."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING

import pytest

from app.ratelimit import Engine, parse_storage_uri
from app.ratelimit.redis.connection import RedisConnection
from app.ratelimit.redis.scripts import pack_decide
from gatehouse.testing.servers.redis import running, wait_until
from tests.servers.harness.proxy import Fault, Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.ratelimit.redis import RedisServer

BUDGET_SECONDS = 4.0
SLOW = Fault(delay_seconds=0.3)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with running() as server, Proxy(server.port) as one:
        yield one


@pytest.fixture
def store(proxy: Proxy) -> Iterator[RedisServer]:
    engine = Engine(parse_storage_uri(f"redis://127.0.0.1:{proxy.port}"), budget_ms=BUDGET_SECONDS * 1000)
    one = engine._topology.servers[0]  # type: ignore[union-attr]
    yield one
    engine.close()


class Opened:
    """What a ``RedisConnection`` needs of redis-py, around a socket that is connected already."""

    def __init__(self, opened: socket.socket) -> None:
        self._opened = opened

    def connect(self) -> None:
        """Do nothing: it is connected."""

    def _get_socket(self) -> socket.socket:
        return self._opened

    def disconnect(self) -> None:
        """Close it."""
        self._opened.close()


@pytest.mark.parametrize("late_seconds", [0.0, 60.0])
def test_an_answer_that_has_arrived_is_read_however_late_it_is(late_seconds: float) -> None:
    # More than is read at once, so that the second look comes after the deadline.
    answer = b"a" * 100_000
    ours, theirs = socket.socketpair()
    ours_opened = RedisConnection(Opened(ours), timeout_seconds=5)  # type: ignore[arg-type] # as far as it is asked
    with theirs, contextlib.closing(ours_opened) as connection:
        theirs.sendall(b"$%d\r\n%b\r\n" % (len(answer), answer))
        assert connection.receive(1, time.monotonic() - late_seconds) == [answer]


def test_a_server_that_is_asked_late_has_half_a_budget_of_its_own(store: RedisServer, proxy: Proxy) -> None:
    wait_until(lambda: store.decide([store.prober.probe]) is not None)
    proxy.fault = SLOW
    long_ago = time.monotonic() - BUDGET_SECONDS
    assert store.call(pack_decide([store.prober.probe]), 1, now=long_ago, is_late=True)


def test_a_server_that_is_asked_by_a_connection_that_was_waited_for_has_half_a_budget_too(
    store: RedisServer, proxy: Proxy
) -> None:
    wait_until(lambda: store.decide([store.prober.probe]) is not None)
    proxy.fault = SLOW
    almost_over = time.monotonic() - 0.69 * BUDGET_SECONDS
    connection = store._wait_for_connection(almost_over, is_patient=False)
    payload = pack_decide([store.prober.probe])
    connection.send(payload)
    assert store.finish((connection, payload, 1, almost_over, False))
