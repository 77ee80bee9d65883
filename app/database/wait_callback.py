"""How psycopg2 waits: the one thing in this package that holds for the whole process.

libpq waits in C for as long as the server pleases: ``statement_timeout`` is the server's to keep, and keepalives are
answered by the kernel of a frozen one. psycopg2 can be made to wait in Python instead, where a deadline can end it, but
only with one callback for all connections (https://www.psycopg.org/docs/extensions.html, "Coroutines support
functions"), so it cannot be a field of an engine. A connection that somebody else makes waits for as long as it would
without it, a ``time_limit`` aside; COPY works on no connection of the process.
"""

import select
from typing import Final

import psycopg2
import psycopg2.extensions

from .deadlines import Deadline

_EVENTS: Final = {psycopg2.extensions.POLL_READ: select.POLLIN, psycopg2.extensions.POLL_WRITE: select.POLLOUT}


class Connection(psycopg2.extensions.connection):
    """A connection whose every exchange with the server is over in ``limit_seconds``, and in the present time limit."""

    limit_seconds: float | None = None


def install_wait_callback() -> None:
    """Make every psycopg2 connection of this process wait in Python; doing it twice changes nothing more."""
    if psycopg2.extensions.get_wait_callback() is not _wait:
        psycopg2.extensions.set_wait_callback(_wait)


def _wait(connection: psycopg2.extensions.connection) -> None:
    """Wait for the server's answer until the connection's deadline.

    Raises:
        psycopg2.OperationalError: there was none, caused by TimeoutError. psycopg2 then closes the connection, which is
            in mid-sentence.
    """
    deadline = Deadline(getattr(connection, "limit_seconds", None))
    while True:
        state = connection.poll()
        if state == psycopg2.extensions.POLL_OK:
            return
        poller = select.poll()
        # libpq may take another socket for its next IP.
        poller.register(connection.fileno(), _EVENTS[state])
        remaining = deadline.remaining()
        if remaining is not None and (remaining <= 0 or not poller.poll(remaining * 1000)):
            raise psycopg2.OperationalError("the server did not answer in time") from TimeoutError()
        if remaining is None:
            poller.poll()
