"""The maintenance thread of one server: it opens the connections that requests wait for, and probes."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from app.ratelimit.plan import Charge

from .breaker import CircuitBreaker, Event, State
from .connection import Connect, RedisConnection
from .pool import ConnectionPool
from .protocol import ConnectionFailed, check_replies
from .scripts import LOAD_ALL, LOAD_ALL_COUNT, pack_decide

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


@dataclass(eq=False)
class Prober:
    """Opens connections and probes, so that no request pays for either.

    It learns what is to be done under ``condition``, the server's one lock, and connects outside of it. What it finds
    out it tells ``on_recovery``, with the connections that it opened, and ``on_failure``, with the reason. A probe has
    succeeded when ``probe`` is decided about within the time that a request has.
    """

    name: str
    connect: Connect
    condition: threading.Condition
    breaker: CircuitBreaker
    pool: ConnectionPool
    probe: Charge
    timeout_seconds: float
    patience_seconds: float
    on_recovery: Callable[[list[RedisConnection]], None]
    on_failure: Callable[..., None]
    # Since when it has been opening a connection, on the monotonic clock.
    connecting_since: float | None = None
    _thread: threading.Thread | None = None

    def wake(self) -> None:
        """Have the thread running and looking for work; the caller holds the lock."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name=f"ratelimit-{self.name}", daemon=True)
            self._thread.start()
        self.condition.notify_all()

    def join(self) -> None:
        """Return when the thread has ended, which it does once the breaker has, or is late."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=2 * self.patience_seconds)

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
        breaker = self.breaker
        with self.condition:
            while breaker.state is State.CLOSED and not self.pool.wanted_count:
                self.condition.wait()
            if breaker.state is State.OPEN:
                self.condition.wait_for(lambda: breaker.state is State.ENDED, choose_pause(probes_count))
            return breaker.state

    def _probe(self) -> bool:
        """Try a server that is away; say whether it is back."""
        opened: list[RedisConnection] = []
        try:
            opened.append(self._open())
            # As fast as a request will need it: a server that only answers slowly stays away.
            check_replies(opened[0].exchange(pack_decide([self.probe]), 1, time.monotonic() + self.timeout_seconds))
            # As many as there were before: the first requests after the return shall not wait for connections either.
            while len(opened) < min(self.pool.lost_count, CONNECTIONS_READY_MAX):
                opened.append(self._open())
        except _FAULTS:
            for connection in opened:
                connection.close()
            return False
        self.on_recovery(opened)
        return True

    def _open_wanted(self) -> None:
        """Open one connection, because requests wait for it or to find out whether a doubt is justified."""
        with self.condition:
            generation = self.pool.generation
            if len(self.pool) >= CONNECTIONS_MAX and not self.breaker.is_doubted:
                self.pool.wanted_count = 0
                return
            self.connecting_since = time.monotonic()
        try:
            connection = self._open()
        except _FAULTS as error:
            is_silent = isinstance(error, (RedisTimeoutError, ConnectionFailed))
            self.on_failure(type(error).__name__, is_silent=is_silent)
            return
        finally:
            self.connecting_since = None
        with self.condition:
            is_current = generation == self.pool.generation
            if is_current:
                # It has answered, with the scripts, a moment ago.
                self.breaker.record(Event.ANSWER)
                self.pool.wanted_count = max(0, self.pool.wanted_count - 1)
                self.pool.add([connection])
        if not is_current:
            connection.close()

    def _open(self) -> RedisConnection:
        """Return a new connection whose server knows the scripts; its first answer may take the patience.

        Raises:
            redis.exceptions.RedisError, ConnectionFailed, OSError, ValueError: there is none to be had.
        """
        patience_seconds = self.patience_seconds
        connection = RedisConnection(
            self.connect(patience_seconds),
            timeout_seconds=patience_seconds,
            generation=self.pool.generation,
        )
        try:
            check_replies(connection.exchange(LOAD_ALL, LOAD_ALL_COUNT, time.monotonic() + patience_seconds))
            connection.limit_wait(self.timeout_seconds)
        except ConnectionFailed:
            connection.close()
            raise
        return connection
