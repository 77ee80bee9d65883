"""New connections: to the host that takes writes, before a deadline, and not all at once to a server that is away."""

import logging
import threading
from typing import Any

import psycopg2
import pymysql

from . import mysql, postgres
from .deadlines import Deadline, time_limit
from .faults import ConnectionLost
from .url import DatabaseTarget

logger = logging.getLogger(__name__)


class Connector:
    """Makes connections to a target's servers.

    While the last try failed, one caller at a time tries again and all others are told at once that the database is
    away: a frozen server then holds one thread, not every thread that asks for it.
    """

    def __init__(self, target: DatabaseTarget) -> None:
        self._target = target
        self._connect = postgres.connect if target.dialect == "postgresql" else mysql.connect
        self._first = 0
        self._is_down = False
        self._attempt = threading.Lock()

    def __call__(self) -> Any:  # noqa: ANN401 - each driver has a class of its own
        """Return a new connection to the host that takes writes.

        Raises:
            psycopg2.Error, pymysql.err.Error: no host answered as it should before the deadline.
            ConnectionLost: no host could be reached, or somebody else is trying just now.
        """
        if not self._is_down:
            return self._try_hosts()
        if not self._attempt.acquire(blocking=False):
            raise ConnectionLost("The database is away, and is being tried by another request.")
        try:
            return self._try_hosts()
        finally:
            self._attempt.release()

    def note_loss(self, *, is_timeout: bool) -> None:
        """Look for another host first; where this one fell silent, take it for away until a connection succeeds."""
        if is_timeout:
            self._change(is_down=True, reason="silence")
        self._first = (self._first + 1) % len(self._target.hosts)

    def _change(self, *, is_down: bool, reason: str) -> None:
        # One line for each change, however many requests meet it. A driver's own text would name hosts and users.
        if is_down != self._is_down:
            self._is_down = is_down
            logger.warning("the database is %s: %s", "away" if is_down else "back", reason)

    def _try_hosts(self) -> Any:  # noqa: ANN401 - each driver has a class of its own
        hosts = self._target.hosts
        deadline = Deadline(self._target.connect_timeout)
        first = self._first
        for tried in range(len(hosts)):
            index = (first + tried) % len(hosts)
            remaining = deadline.remaining() or 0.0
            try:
                # A silent host takes no more than its share, so that those after it get theirs.
                with time_limit(remaining / (len(hosts) - tried)):
                    connection = self._connect(self._target, hosts[index], must_write=len(hosts) > 1)
            except (psycopg2.Error, pymysql.err.Error, OSError) as error:
                if tried + 1 == len(hosts):
                    self._change(is_down=True, reason=type(error).__name__)
                    if isinstance(error, OSError):
                        raise ConnectionLost("The database cannot be reached.") from error
                    raise
            else:
                self._first = index
                self._change(is_down=False, reason=f"host {index + 1} of {len(hosts)}")
                return connection
        raise AssertionError("a target has at least one host")
