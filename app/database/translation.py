"""Drivers' errors become the exceptions of ``faults``."""

from collections.abc import Callable, Mapping
from typing import Final, NoReturn

import sqlalchemy as sa
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.pool import PoolProxiedConnection

from .connector import Connector
from .faults import (
    CommitOutcomeUnknown,
    ConnectionLost,
    DatabaseUnavailable,
    Kind,
    classify,
    find_refused_reference,
    is_rolled_back,
    is_timeout,
)
from .sqlite import IS_WRITE

_IS_COMMITTING: Final = "is_committing"
_EXCEPTIONS: Final[Mapping[Kind, Callable[[], DatabaseUnavailable]]] = {
    Kind.LOST: lambda: ConnectionLost("The connection to the database was lost."),
    Kind.READ_ONLY: lambda: ConnectionLost("The database takes no writes at present."),
    Kind.CLOSED: lambda: DatabaseUnavailable("The database's file cannot be opened, or its folder not be written to."),
    Kind.BUSY: lambda: DatabaseUnavailable("The database is too busy to answer."),
}


def translate_errors(engine: sa.Engine, connector: Connector | None = None) -> None:
    """Raise the exceptions of ``faults`` in the place of the errors of ``engine``, and throw away a pool of no use.

    ``connector`` makes the engine's connections, if it is to a server.
    """
    sa.event.listen(engine, "begin", _note_no_commit)
    sa.event.listen(engine, "rollback", _note_no_commit)
    sa.event.listen(engine, "commit", _note_commit)

    @sa.event.listens_for(engine, "handle_error", retval=True)
    def translate(context: ExceptionContext) -> Exception | None:
        error = context.original_exception
        if (refused := find_refused_reference(error)) is not None:
            return refused
        if connector is not None and not isinstance(error, context.dialect.loaded_dbapi.Error):
            # What interrupted the driver may have left an answer unread, which the next statement would take for its
            # own. It is no loss: work that somebody interrupted is not run again.
            context.is_disconnect = True
            context.invalidate_pool_on_disconnect = False
            return None
        kind = classify(error)
        if context.is_disconnect and kind is not Kind.READ_ONLY:
            kind = Kind.LOST
        if connector is not None and kind in {Kind.LOST, Kind.READ_ONLY}:
            context.is_disconnect = True
            connector.note_loss(is_timeout=is_timeout(error))
        elif kind is Kind.READ_ONLY:
            # SQLite opens a file that may not be written to for reading, and that connection stays so. What writes
            # outside a transaction of its own is told the same, and is a mistake of ours.
            is_meant = context.connection is not None and bool(context.connection.info.get(IS_WRITE))
            context.is_disconnect = is_meant
            # A new connection to a file in a closed folder cannot make the log beside it.
            kind = Kind.CLOSED if context.connection is None else kind if is_meant else Kind.OTHER
        if _is_committing(context.connection) and not is_rolled_back(error):
            return CommitOutcomeUnknown()
        if context.connection is None and kind is Kind.OTHER:
            return DatabaseUnavailable("The database refuses to be connected to.")
        return _EXCEPTIONS[kind]() if kind in _EXCEPTIONS else None


def _note_no_commit(connection: sa.Connection) -> None:
    if not connection.invalidated:
        connection.info[_IS_COMMITTING] = False


def _note_commit(connection: sa.Connection) -> None:
    connection.info[_IS_COMMITTING] = True


def _is_committing(connection: sa.Connection | None) -> bool:
    return connection is not None and not connection.invalidated and bool(connection.info.get(_IS_COMMITTING))


def raise_translated(engine: sa.Engine, taken: PoolProxiedConnection | None, error: BaseException) -> NoReturn:
    """Raise what ``error`` means, which ended a statement outside of any transaction, and give back what was ``taken``.

    None was taken where the pool had no connection to give. It goes SQLAlchemy's own way, which has no public door, so
    that the connection and its pool fare as ever.
    """
    if taken is None:
        if isinstance(error, engine.dialect.loaded_dbapi.Error):
            sa.Connection._handle_dbapi_exception_noconnection(error, engine.dialect, engine)  # noqa: SLF001 - see above
        raise error
    connection = sa.Connection(engine, taken)
    _note_no_commit(connection)
    try:
        connection._handle_dbapi_exception(error, None, None, None, None)  # noqa: SLF001 - see above
    finally:
        connection.close()
