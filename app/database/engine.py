"""From a target to a SQLAlchemy engine that tells losses by their names."""

from __future__ import annotations

import logging
import math
import select
import time
from typing import TYPE_CHECKING, Any, Final, cast
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy.util import queue as sqlalchemy_queue

from . import mysql
from .connector import Connector
from .deadlines import Deadline
from .faults import (
    CommitOutcomeUnknown,
    ConnectionLost,
    DatabaseUnavailable,
    Kind,
    classify,
    is_rolled_back,
    is_silence,
)
from .sqlite import IS_WRITE, make_sqlite_engine
from .transactions import begin_only_where_needed
from .url import DatabaseTarget, parse_database_url

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy.engine import ExceptionContext
    from sqlalchemy.pool import ConnectionPoolEntry

# Below warnings SQLAlchemy's pools tell which user they connect as, and where.
logging.getLogger(f"{__name__}._Pool").setLevel(logging.WARNING)

_IS_COMMITTING: Final = "is_committing"
_IS_PATIENT: Final = "is_patient"
_WAS_USED: Final = "was_used"
# How long it takes at most that, of all connections of a busy pool, none is given back by a server that is well.
SILENCE_SECONDS: Final = 0.5
_DRIVERS: Final = {"postgresql": "postgresql+psycopg2", "mysql": "mysql+pymysql"}


_TARGETS: Final[WeakKeyDictionary[sa.Engine, DatabaseTarget]] = WeakKeyDictionary()


class _Queue(sqlalchemy_queue.Queue[Any]):
    """A pool's queue in which nobody waits beyond the present time limit."""

    def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: ANN401, FBT001, FBT002 - SQLAlchemy's
        """Return a connection at rest, waited for until the sooner of the two."""
        return super().get(block, Deadline(timeout).remaining())


class _Pool(sa.QueuePool):
    """A pool that, when all its connections are taken, says so in our words.

    To a server nobody waits for one while none of them shows a sign of life either: whoever waits holds one of our
    threads, and routes without a database need those.
    """

    # Its log is SQLAlchemy's, not ours: at DEBUG it shows connections.
    __module__ = sa.QueuePool.__module__
    _queue_class = _Queue
    silence_seconds = math.inf

    def __init__(self, creator: Any, *, timeout: float, **options: Any) -> None:  # noqa: ANN401 - SQLAlchemy's own
        super().__init__(creator, timeout=min(timeout, self.silence_seconds), **options)
        self._patience_seconds = timeout
        self._moved_at = time.monotonic()

    def recreate(self) -> _Pool:
        """Return a new pool of the same kind."""
        pool = cast("_Pool", super().recreate())
        pool._patience_seconds = self._patience_seconds  # noqa: SLF001 - another of us
        return pool

    def _do_get(self) -> ConnectionPoolEntry:
        deadline = Deadline(self._patience_seconds)
        while True:
            is_silent = time.monotonic() - self._moved_at > self.silence_seconds
            if is_silent and self.checkedin() == 0 and self.overflow() >= self._max_overflow:
                raise DatabaseUnavailable("All connections to the database are taken, and none is answered.")
            try:
                entry = super()._do_get()
            except sa.exc.TimeoutError as error:
                if (deadline.remaining() or 0) <= 0:
                    raise DatabaseUnavailable("All connections to the database are taken.") from error
            else:
                self._moved_at = time.monotonic()
                return entry

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        self._moved_at = time.monotonic()
        super()._do_return_conn(record)


class _ServerPool(_Pool):
    """The pool of connections to a server; SQLite's writers queue, and all of them may wait for one."""

    __module__ = sa.QueuePool.__module__
    silence_seconds = SILENCE_SECONDS


def make_engine(
    target: DatabaseTarget | str, *, require_tls: bool = False, most_connections: int | None = None
) -> sa.Engine:
    """Return an engine on ``target``; it connects when first used.

    What is executed on it raises, beyond SQLAlchemy's own errors, ``ConnectionLost``, ``CommitOutcomeUnknown`` or
    another ``DatabaseUnavailable``. A lost connection throws the pool away: every later one is new.

    Args:
        target: a checked target, or a URL to check.
        require_tls: as for ``parse_database_url``, where ``target`` is a URL.
        most_connections: to a server, however many the URL allows.

    Raises:
        DatabaseUrlError: the URL is wrong.
    """
    if isinstance(target, str):
        target = parse_database_url(target, require_tls=require_tls)
    options: dict[str, Any] = {
        "poolclass": _Pool,
        "pool_size": target.pool_size,
        "max_overflow": target.max_overflow,
        "pool_timeout": target.pool_timeout,
        "pool_recycle": target.pool_recycle,
        "pool_use_lifo": True,
        "hide_parameters": True,
    }
    if target.dialect == "sqlite":
        engine = make_sqlite_engine(target, **options)
        _FaultNamer(engine, connector=None)
    else:
        connector = Connector(target)
        options["poolclass"] = _ServerPool
        if most_connections is not None:
            options["pool_size"] = min(target.pool_size, most_connections)
            options["max_overflow"] = min(target.max_overflow, most_connections - options["pool_size"])
        if target.dialect == "postgresql":
            options["use_native_hstore"] = False  # it would ask for the type at every connect
        # The URL has no password, so that nothing that prints an engine can tell it.
        host = target.hosts[0]
        url = sa.URL.create(_DRIVERS[target.dialect], target.user or None, None, host.name, host.port, target.database)
        engine = sa.create_engine(url, creator=connector, **options)
        _FaultNamer(engine, connector)
        begin_only_where_needed(engine)
        _discard_closed_connections(engine)
    _TARGETS[engine] = target
    return engine


def get_target(engine: sa.Engine) -> DatabaseTarget:
    """Return what ``make_engine`` made ``engine`` from."""
    return _TARGETS[engine]


def lift_time_limits(connection: sa.Connection) -> None:
    """Let statements on ``connection`` take as long as they need, for a migration or a long export.

    The connection is closed when it comes back to its pool, so that nobody inherits its patience. Waiting for a lock
    keeps its limit: what waits for a table's lock keeps everybody behind it waiting too.
    """
    if connection.dialect.name == "sqlite":
        return
    driver: Any = connection.connection.driver_connection
    connection.info[_IS_PATIENT] = True
    driver.limit_seconds = None
    is_postgres = connection.dialect.name == "postgresql"
    name = "statement_timeout" if is_postgres else mysql.get_time_limit_name(driver)
    connection.exec_driver_sql(f"SET SESSION {name} = 0")
    connection.commit()


class _FaultNamer:
    """Turns drivers' errors into the exceptions of ``faults``; throws away the pool where it has become useless."""

    def __init__(self, engine: sa.Engine, connector: Connector | None) -> None:
        self._connector = connector
        sa.event.listen(engine, "begin", self._on_no_commit)
        sa.event.listen(engine, "rollback", self._on_no_commit)
        sa.event.listen(engine, "commit", self._on_commit)
        sa.event.listen(engine, "handle_error", self._on_error, retval=True)

    @staticmethod
    def _on_no_commit(connection: sa.Connection) -> None:
        if not connection.invalidated:
            connection.info[_IS_COMMITTING] = False

    @staticmethod
    def _on_commit(connection: sa.Connection) -> None:
        connection.info[_IS_COMMITTING] = True

    def _on_error(self, context: ExceptionContext) -> Exception | None:
        error = context.original_exception
        kind = classify(error)
        if context.is_disconnect and kind is not Kind.READ_ONLY:
            kind = Kind.LOST
        if self._connector is not None and kind in {Kind.LOST, Kind.READ_ONLY}:
            context.is_disconnect = True
            self._connector.note_loss(is_silent=is_silence(error))
        elif kind is Kind.READ_ONLY:
            # SQLite opens a file that may not be written to for reading, and that connection stays so. What writes
            # outside a transaction of its own is told the same, and is a mistake of ours.
            is_meant = context.connection is not None and context.connection.info.get(IS_WRITE)
            context.is_disconnect = bool(is_meant)
            kind = kind if is_meant else Kind.OTHER
        if _is_committing(context.connection) and not is_rolled_back(error):
            return CommitOutcomeUnknown()
        if context.connection is None and kind is Kind.OTHER:
            return DatabaseUnavailable("The database refuses to be connected to.")
        return _NAMES[kind]() if kind in _NAMES else None


_NAMES: Final[Mapping[Kind, Callable[[], Exception]]] = {
    Kind.LOST: lambda: ConnectionLost("The connection to the database was lost."),
    Kind.READ_ONLY: lambda: ConnectionLost("The database takes no writes at present."),
    Kind.CLOSED: lambda: DatabaseUnavailable("The database's file cannot be opened, or its folder not be written to."),
    Kind.BUSY: lambda: DatabaseUnavailable("The database is too busy to answer."),
}


def _is_committing(connection: sa.Connection | None) -> bool:
    return connection is not None and not connection.invalidated and bool(connection.info.get(_IS_COMMITTING))


def _discard_closed_connections(engine: sa.Engine) -> None:
    """Replace a pooled connection that the server has closed, without asking the server.

    Nothing is owed to us on a connection at rest. One that has something to read was closed, or its server wants to
    tell of a change (PostgreSQL: that it takes no writes any more); either way a new one is the answer. It costs one
    system call where a ping costs a round trip.
    """

    @sa.event.listens_for(engine, "checkin")
    def on_checkin(_connection: object, entry: ConnectionPoolEntry) -> None:
        entry.info[_WAS_USED] = True
        if entry.info.get(_IS_PATIENT):
            entry.invalidate()

    @sa.event.listens_for(engine, "checkout")
    def on_checkout(connection: Any, entry: ConnectionPoolEntry, _proxy: object) -> None:  # noqa: ANN401 - any driver's
        if entry.info.get(_WAS_USED) and _has_news(connection):
            raise sa.exc.DisconnectionError("closed by the server")


def _has_news(connection: Any) -> bool:  # noqa: ANN401 - any driver's
    socket = connection if hasattr(connection, "fileno") else connection._sock  # noqa: SLF001 - PyMySQL has no other way
    if socket is None or getattr(connection, "closed", False):
        return True
    poller = select.poll()
    poller.register(socket, select.POLLIN | select.POLLHUP | select.POLLERR)
    return bool(poller.poll(0))
