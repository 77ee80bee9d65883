"""Whether a pooled connection is still of use, found out without asking the server."""

import select
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.pool import ConnectionPoolEntry

# The mark, in ``Connection.info``, of a connection that is closed when it comes back to its pool.
IS_FOR_ONE_USE: Final = "is_for_one_use"
_WAS_USED: Final = "was_used"


def discard_closed_connections(engine: sa.Engine) -> None:
    """Replace a pooled connection that the server has closed, without asking the server.

    Nothing is owed to us on a connection at rest. One that has something to read was closed, or its server wants to
    tell of a change (PostgreSQL: that it takes no writes any more); either way a new one is the answer. It costs one
    system call where a ping costs a round trip.
    """

    @sa.event.listens_for(engine, "checkin")
    def on_checkin(_connection: object, entry: ConnectionPoolEntry) -> None:
        entry.info[_WAS_USED] = True
        if entry.info.get(IS_FOR_ONE_USE):
            entry.invalidate()

    @sa.event.listens_for(engine, "checkout")
    def on_checkout(connection: Any, entry: ConnectionPoolEntry, _proxy: object) -> None:  # noqa: ANN401 - any driver's
        if entry.info.get(_WAS_USED) and _is_readable(connection):
            raise sa.exc.DisconnectionError("closed by the server")


def _is_readable(connection: Any) -> bool:  # noqa: ANN401 - any driver's
    socket = connection if hasattr(connection, "fileno") else connection._sock  # noqa: SLF001 - PyMySQL has no other way
    if socket is None or getattr(connection, "closed", False):
        return True
    poller = select.poll()
    poller.register(socket, select.POLLIN | select.POLLHUP | select.POLLERR)
    return bool(poller.poll(0))
