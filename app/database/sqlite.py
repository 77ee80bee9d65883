"""SQLite: a file, many readers, one writer at a time that queues instead of failing."""

import sqlite3
import time
from typing import Any, Final

import sqlalchemy as sa

from .deadlines import Deadline
from .faults import DatabaseFileGone
from .sqlite_file import DatabaseFile
from .transactions import READS_ONCE
from .url import DatabaseTarget

IS_WRITE: Final = "is_write"
_RETRY_SECONDS: Final = 0.01
# SQLite waits 1, 2, 5 and 10 ms within this, then begins anew.
_TURN_MS: Final = 18


def make_sqlite_engine(
    target: DatabaseTarget,
    file: DatabaseFile,
    **options: Any,  # noqa: ANN401 - create_engine's own
) -> sa.Engine:
    """Return an engine on ``file``.

    A transaction begun on a connection with the execution option ``is_write`` takes the write lock at once (BEGIN
    IMMEDIATE) and waits in line for it. Any other transaction only reads: it sees one snapshot (with the option
    ``reads_once`` each statement sees its own), waits for nobody, and a write in it is refused. A deferred transaction
    that turned to writing half-way could not wait: SQLite answers "database is locked" at once, whatever the busy
    timeout, whenever somebody else wrote since its first read.
    """
    engine = sa.create_engine(sa.URL.create("sqlite", database=target.database), creator=file.connect, **options)
    timeout_ms = round(target.busy_timeout * 1000)

    _watch_file(engine, file)

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # the module begins no transactions of its own
        connection.execute(f"PRAGMA busy_timeout={timeout_ms}")
        _use_write_ahead_log(connection, within_seconds=target.busy_timeout)
        # FULL: a commit that was answered survives a power cut too, at the price of one fsync.
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        options = connection.get_execution_options()
        is_write = bool(options.get(IS_WRITE))
        if connection.info.get(IS_WRITE) is not is_write:
            connection.exec_driver_sql(f"PRAGMA query_only={'OFF' if is_write else 'ON'}")
            connection.info[IS_WRITE] = is_write
        if is_write:
            _take_write_lock(connection, busy_timeout=target.busy_timeout)
        elif not options.get(READS_ONCE):
            connection.exec_driver_sql("BEGIN")

    return engine


def _watch_file(engine: sa.Engine, file: DatabaseFile) -> None:
    """Have ``file`` looked at before each use of ``engine``, and before each commit."""
    sa.event.listen(engine, "checkout", file.check)

    @sa.event.listens_for(engine, "commit")
    def check_file_again(connection: sa.Connection) -> None:
        if connection.info.get(IS_WRITE):
            try:
                file.check()
            except DatabaseFileGone:
                connection.invalidate()  # nothing of the transaction is stored
                raise


def _take_write_lock(connection: sa.Connection, *, busy_timeout: float) -> None:
    """Begin a transaction that writes, as soon as nobody else does.

    Left to itself SQLite asks less and less often, up to every tenth of a second; whoever has waited longest then has
    the least chance between the writers that came later. Here everybody asks again within milliseconds.

    Raises:
        sqlalchemy.exc.OperationalError: others wrote all the time.
    """
    driver: Any = connection.connection.dbapi_connection
    deadline = Deadline(busy_timeout)
    driver.execute(f"PRAGMA busy_timeout={_TURN_MS}")
    try:
        while (deadline.remaining() or 0) > 0:
            try:
                driver.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    break  # Below it gets the name that it has here.
            else:
                return
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    finally:
        if not connection.invalidated:
            driver.execute(f"PRAGMA busy_timeout={round(busy_timeout * 1000)}")


def _use_write_ahead_log(connection: sqlite3.Connection, *, within_seconds: float) -> None:
    """Let readers and the writer not wait for each other.

    The switch itself ignores the busy timeout, so that several processes starting at once need a loop.
    """
    give_up_at = time.monotonic() + within_seconds
    while True:
        try:
            if connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
                return
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > give_up_at:
                raise
            time.sleep(_RETRY_SECONDS)
        else:
            return
