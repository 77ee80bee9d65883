"""The open connections to one server."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from .connection import RedisConnection

IDLE_CHECK_SECONDS: Final = 1.0


class ConnectionPool:
    """Connections that are idle, and those that are each in use by one thread.

    Taking and giving back go through a deque, which needs no lock. All else changes under ``condition``, the server's
    one lock: the methods that say so expect their caller to hold it. A connection is closed outside of it.

    The generation counts how often the breaker has opened: a connection of an older one is not used again.
    """

    def __init__(self, condition: threading.Condition, *, timeout_seconds: float) -> None:
        self._condition = condition
        self._timeout_seconds = timeout_seconds
        self._idle: deque[RedisConnection] = deque()
        # Every connection that is not closed; changed under the lock.
        self._open: set[RedisConnection] = set()
        self._waiting_count = 0
        self.generation = 0
        # How many there were when the breaker opened, and how many requests wait for one.
        self.lost_count = 0
        self.wanted_count = 0
        # On the monotonic clock: when the server may last have lost what it knew; infinitely long ago if never.
        self.reconnected_at = float("-inf")

    def __len__(self) -> int:
        return len(self._open)

    def take(self, now: float) -> RedisConnection | None:
        """Return an idle connection, or None where there is none."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            # A server that restarted or has a timeout of its own closes idle connections: that is no outage.
            if now - connection.used_at <= IDLE_CHECK_SECONDS or not connection.is_dead():
                connection.used_at = now
                return connection
            self.reconnected_at = now
            self.drop(connection)

    def wait(self, until: float, *, is_worthwhile: Callable[[], bool]) -> RedisConnection | None:
        """Return a connection as soon as one is idle, or None when time is up or it ``is_worthwhile`` no longer.

        The caller holds the lock.
        """
        self._waiting_count += 1
        try:
            while is_worthwhile():
                try:
                    return self._idle.pop()
                except IndexError:
                    left_seconds = until - time.monotonic()
                    if left_seconds <= 0:
                        return None
                    self._condition.wait(left_seconds)
            return None
        finally:
            self._waiting_count -= 1

    def give_back(self, connection: RedisConnection) -> None:
        """Take ``connection`` back for others to use."""
        if connection.generation != self.generation:
            self.drop(connection)
            return
        connection.limit_wait(self._timeout_seconds)
        self._idle.append(connection)
        if self._waiting_count:
            with self._condition:
                self._condition.notify()

    def drop(self, connection: RedisConnection) -> None:
        """Close ``connection``, which is of no further use."""
        with self._condition:
            self._open.discard(connection)
        connection.close()

    def add(self, connections: Iterable[RedisConnection]) -> None:
        """Have newly opened ``connections`` used; the caller holds the lock."""
        self._open.update(connections)
        self._idle.extend(connections)
        self._condition.notify_all()

    def clear(self) -> list[RedisConnection]:
        """Begin another generation; return what was idle, to be closed outside of the lock, which the caller holds."""
        idle = list(self._idle)
        self._idle.clear()
        self.lost_count = len(self._open)
        self._open.difference_update(idle)
        self.generation += 1
        self.wanted_count = 0
        self._condition.notify_all()
        return idle

    def interrupt(self) -> None:
        """Wake every thread that waits for an answer; the caller holds the lock.

        So no connection here is closed meanwhile, and its number is not yet another connection's.
        """
        for connection in self._open:
            connection.interrupt()
