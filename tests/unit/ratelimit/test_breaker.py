"""Whether a server is asked, and what becomes of its connections: decided without any server."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from typing import TYPE_CHECKING, cast

import pytest

from app.ratelimit.redis.breaker import TRANSITIONS, CircuitBreaker, Event, State
from app.ratelimit.redis.connection import RedisConnection
from app.ratelimit.redis.pool import IDLE_CHECK_SECONDS, ConnectionPool
from app.ratelimit.redis.protocol import ConnectionFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis.connection import Connection

WAYS = {
    State.CLOSED: [],
    State.DOUBTED: [Event.SILENCE],
    State.OPEN: [Event.FAILURE],
    State.ENDED: [Event.END],
}


def make_breaker(state: State) -> CircuitBreaker:
    breaker = CircuitBreaker()
    for event in WAYS[state]:
        assert breaker.record(event)
    assert breaker.state is state
    return breaker


@pytest.mark.parametrize(("state", "event"), [*itertools.product(State, Event)])
def test_what_the_table_does_not_name_changes_nothing(state: State, event: Event) -> None:
    breaker = make_breaker(state)
    assert breaker.record(event) is ((state, event) in TRANSITIONS)
    assert breaker.state is TRANSITIONS.get((state, event), state)


@pytest.mark.parametrize(
    ("state", "is_admitted", "is_patient_admitted"),
    [(State.CLOSED, True, True), (State.DOUBTED, False, True), (State.OPEN, False, False), (State.ENDED, False, False)],
)
def test_a_server_in_doubt_is_asked_by_the_patient_alone(
    state: State, *, is_admitted: bool, is_patient_admitted: bool
) -> None:
    breaker = make_breaker(state)
    assert breaker.admits(is_patient=False) is is_admitted
    assert breaker.admits(is_patient=True) is is_patient_admitted
    assert breaker.is_open is not is_patient_admitted


def test_three_refusals_within_a_second_are_no_chance_and_an_outage_forgets_them() -> None:
    breaker = CircuitBreaker()
    assert [breaker.count_refusal(at) for at in (0.0, 0.5, 1.1, 1.4)] == [False, False, False, True]
    breaker.record(Event.FAILURE)
    breaker.record(Event.ANSWER)
    assert [breaker.count_refusal(at) for at in (1.5, 1.6, 1.7)] == [False, False, True]


class FakeConnection:
    def __init__(self, generation: int = 0, *, is_closed_by_server: bool = False) -> None:
        self.generation = generation
        self.used_at = 0.0
        self.is_closed = False
        self._is_closed_by_server = is_closed_by_server

    def is_dead(self) -> bool:
        return self._is_closed_by_server

    def limit_wait(self, seconds: float) -> None:
        assert seconds > 0

    def close(self) -> None:
        self.is_closed = True


def make_pool(*connections: FakeConnection) -> ConnectionPool:
    pool = ConnectionPool(threading.Condition(threading.Lock()), timeout_seconds=1)
    with pool._condition:
        pool.add(cast("list[RedisConnection]", list(connections)))
    return pool


def test_a_connection_of_an_older_generation_is_closed_when_it_comes_back() -> None:
    used, idle = FakeConnection(), FakeConnection()
    pool = make_pool(idle, used)
    taken = pool.take(0.0)
    assert taken is cast("RedisConnection", used)
    with pool._condition:
        assert pool.clear() == cast("list[RedisConnection]", [idle])
    assert (pool.lost_count, len(pool)) == (2, 1)
    pool.give_back(taken)
    assert used.is_closed
    assert (pool.take(0.0), len(pool)) == (None, 0)


def test_an_idle_connection_that_the_server_closed_is_dropped_and_noted() -> None:
    good, gone = FakeConnection(), FakeConnection(is_closed_by_server=True)
    pool = make_pool(good, gone)
    now = IDLE_CHECK_SECONDS + 1
    assert pool.take(now) is cast("RedisConnection", good)
    assert gone.is_closed
    assert pool.reconnected_at == now


def test_nobody_waits_for_a_connection_longer_than_it_is_worthwhile() -> None:
    pool = make_pool()
    with pool._condition:
        assert pool.wait(time.monotonic() + 60, is_worthwhile=lambda: False) is None
        assert pool.wait(time.monotonic() - 1, is_worthwhile=lambda: True) is None


@pytest.fixture
def line() -> Iterator[tuple[RedisConnection, socket.socket]]:
    """A connection, and the end of it that a server would have."""
    ours, theirs = socket.socketpair()

    class Paired:
        def connect(self) -> None:
            pass

        def _get_socket(self) -> socket.socket:
            return ours

        def disconnect(self) -> None:
            ours.close()

    connection = RedisConnection(cast("Connection", Paired()), timeout_seconds=0.01)
    with theirs:
        yield connection, theirs
    connection.close()


def test_an_answer_in_two_pieces_with_a_silence_between_them_is_heard_whole(
    line: tuple[RedisConnection, socket.socket],
) -> None:
    connection, server = line
    server.sendall(b"$6\r\nwho")
    with pytest.raises(ConnectionFailed) as silence:
        connection.receive(1, time.monotonic())
    assert silence.value.is_silence
    server.sendall(b"le\n\r\n")
    assert connection.receive(1, time.monotonic()) == [b"whole\n"]
    server.sendall(b":7\r\n")
    assert connection.receive(1, time.monotonic()) == [7]


def test_a_length_that_is_no_number_is_no_answer_of_redis(line: tuple[RedisConnection, socket.socket]) -> None:
    connection, server = line
    server.sendall(b"$many\r\n")
    with pytest.raises(ConnectionFailed) as failure:
        connection.receive(1, time.monotonic())
    assert not failure.value.is_silence
