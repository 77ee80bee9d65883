"""The pools of connections: nobody waits for one beyond the present time limit, or for a server that is silent."""

import math
import time
from typing import Any, Final, cast

import sqlalchemy as sa
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.util import queue as sqlalchemy_queue

from .deadlines import Deadline, remaining_seconds
from .faults import DatabaseUnavailable

# How long it takes at most that, of all connections of a busy pool, none is given back by a server that is well.
SILENCE_SECONDS: Final = 0.5


class _Queue(sqlalchemy_queue.Queue[Any]):
    """A pool's queue in which nobody waits beyond the present time limit."""

    def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: ANN401, FBT001, FBT002 - SQLAlchemy's
        """Return a connection at rest, waited for until the sooner of the two."""
        return super().get(block, Deadline(timeout).remaining() if block else None)


class Pool(sa.QueuePool):
    """A pool that raises ``DatabaseUnavailable`` when all its connections are taken.

    Nobody waits for one while none of them was taken or given back for ``silence_seconds``: whoever waits holds one of
    our threads, and routes without a database need those.
    """

    # Its log is SQLAlchemy's, not ours: at DEBUG it shows connections.
    __module__ = sa.QueuePool.__module__
    _queue_class = _Queue
    # SQLite's writers queue, and all of them may wait for one.
    silence_seconds = math.inf

    def __init__(self, creator: Any, *, timeout: float, **options: Any) -> None:  # noqa: ANN401 - SQLAlchemy's own
        super().__init__(creator, timeout=min(timeout, self.silence_seconds), **options)
        self._wait_seconds = timeout
        self._active_at = time.monotonic()

    def recreate(self) -> "Pool":
        """Return a new pool of the same kind."""
        pool = cast("Pool", super().recreate())
        pool._wait_seconds = self._wait_seconds  # noqa: SLF001 - another of us
        return pool

    def _do_get(self) -> ConnectionPoolEntry:
        begun_at = time.monotonic()
        while True:
            is_silent = time.monotonic() - self._active_at > self.silence_seconds
            if is_silent and self.checkedin() == 0 and self.overflow() >= self._max_overflow:
                raise DatabaseUnavailable("All connections to the database are taken, and none is answered.")
            try:
                entry = super()._do_get()
            except sa.exc.TimeoutError as error:
                limit_seconds = remaining_seconds()
                is_over = limit_seconds is not None and limit_seconds <= 0
                if is_over or time.monotonic() - begun_at >= self._wait_seconds:
                    raise DatabaseUnavailable("All connections to the database are taken.") from error
            else:
                self._active_at = time.monotonic()
                return entry

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        self._active_at = time.monotonic()
        super()._do_return_conn(record)


class ServerPool(Pool):
    """The pool of connections to a server."""

    __module__ = sa.QueuePool.__module__
    silence_seconds = SILENCE_SECONDS
