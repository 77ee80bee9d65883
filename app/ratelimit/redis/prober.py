"""The maintenance thread of one server: it opens the connections that requests wait for, and probes."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Final

from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from .breaker import Event, State
from .connection import RedisConnection
from .protocol import ConnectionFailed, check_replies
from .scripts import LOAD_ALL, LOAD_ALL_COUNT

if TYPE_CHECKING:
    from collections.abc import Callable

    from .breaker import CircuitBreaker
    from .connection import Connect
    from .pool import ConnectionPool

CONNECTIONS_MAX: Final = 256
CONNECTIONS_READY_MAX: Final = 16
PROBE_DELAY_SECONDS: Final = 0.05
PROBE_DELAY_MAX_SECONDS: Final = 0.8
PROBE_DELAY_GROWTH: Final = 1.6
_FAULTS: Final = (RedisError, ConnectionFailed, OSError, ValueError)


def choose_pause(probes_count: int) -> float:
    """Return the seconds before the next probe of a server after so many in vain: more and more, never the same."""
    delay = min(PROBE_DELAY_SECONDS * PROBE_DELAY_GROWTH**probes_count, PROBE_DELAY_MAX_SECONDS)
    return delay * random.uniform(0.5, 1)  # noqa: S311 - jitter is no secret


class Prober:
    """Opens connections and probes, so that no request pays for either.

    It learns what is to be done under ``condition``, the server's one lock, and connects outside of it. What it finds
    out it tells ``on_recovery``, with the connections that it opened, and ``on_failure``, with the reason. A probe has
    succeeded when ``probe`` is answered without error within the time that a request has.
    """

    def __init__(
        self,
        name: str,
        connect: Connect,
        *,
        condition: threading.Condition,
        breaker: CircuitBreaker,
        pool: ConnectionPool,
        timeout_seconds: float,
        patience_seconds: float,
        probe: bytes,
        on_recovery: Callable[[list[RedisConnection]], None],
        on_failure: Callable[..., None],
    ) -> None:
        self._name = name
        self._connect = connect
        self._condition = condition
        self._breaker = breaker
        self._pool = pool
        self._timeout_seconds = timeout_seconds
        self._patience_seconds = patience_seconds
        self.probe = probe
        self._on_recovery = on_recovery
        self._on_failure = on_failure
        self._thread: threading.Thread | None = None
        # Since when it has been opening a connection, on the monotonic clock.
        self.connecting_since: float | None = None

    def wake(self) -> None:
        """Have the thread running and looking for work; the caller holds the lock."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name=f"ratelimit-{self._name}", daemon=True)
            self._thread.start()
        self._condition.notify_all()

    def join(self) -> None:
        """Return when the thread has ended, which it does once the breaker has, or is late."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=2 * self._patience_seconds)

    def _run(self) -> None:
        probes_count = 0
        while True:
            state = self._wait_for_work(probes_count)
            if state is State.ENDED:
                return
            if state is State.OPEN:
                probes_count = 0 if self._probe() else probes_count + 1
            else:
                probes_count = 0
                self._open_wanted()

    def _wait_for_work(self, probes_count: int) -> State:
        """Return the breaker's state when a connection is wanted, the next probe is due, or the server was ended."""
        breaker = self._breaker
        with self._condition:
            while breaker.state is State.CLOSED and not self._pool.wanted_count:
                self._condition.wait()
            if breaker.state is State.OPEN:
                self._condition.wait_for(lambda: breaker.state is State.ENDED, choose_pause(probes_count))
            return breaker.state

    def _probe(self) -> bool:
        """Try a server that is away; say whether it is back."""
        opened: list[RedisConnection] = []
        try:
            opened.append(self._open())
            # As fast as a request will need it: a server that only answers slowly stays away.
            check_replies(opened[0].exchange(self.probe, 1, time.monotonic() + self._timeout_seconds))
            # As many as there were before: the first requests after the return shall not wait for connections either.
            while len(opened) < min(self._pool.lost_count, CONNECTIONS_READY_MAX):
                opened.append(self._open())
        except _FAULTS:
            for connection in opened:
                connection.close()
            return False
        self._on_recovery(opened)
        return True

    def _open_wanted(self) -> None:
        """Open one connection, because requests wait for it or to find out whether a doubt is justified."""
        with self._condition:
            generation = self._pool.generation
            if len(self._pool) >= CONNECTIONS_MAX and not self._breaker.is_doubted:
                self._pool.wanted_count = 0
                return
            self.connecting_since = time.monotonic()
        try:
            connection = self._open()
        except _FAULTS as error:
            is_silent = isinstance(error, (RedisTimeoutError, ConnectionFailed))
            self._on_failure(type(error).__name__, is_silent=is_silent)
            return
        finally:
            self.connecting_since = None
        with self._condition:
            is_current = generation == self._pool.generation
            if is_current:
                # It has answered, with the scripts, a moment ago.
                self._breaker.record(Event.ANSWER)
                self._pool.wanted_count = max(0, self._pool.wanted_count - 1)
                self._pool.add([connection])
        if not is_current:
            connection.close()

    def _open(self) -> RedisConnection:
        """Return a new connection whose server knows the scripts; its first answer may take the patience.

        Raises:
            redis.exceptions.RedisError, ConnectionFailed, OSError, ValueError: there is none to be had.
        """
        patience_seconds = self._patience_seconds
        connection = RedisConnection(
            self._connect(timeout_seconds=patience_seconds),
            timeout_seconds=patience_seconds,
            generation=self._pool.generation,
        )
        try:
            check_replies(connection.exchange(LOAD_ALL, LOAD_ALL_COUNT, time.monotonic() + patience_seconds))
            connection.limit_wait(self._timeout_seconds)
        except ConnectionFailed:
            connection.close()
            raise
        return connection
