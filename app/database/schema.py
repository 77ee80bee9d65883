"""Changes of the schema that keep nobody else waiting for long."""

import random
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg2
import pymysql
import sqlalchemy as sa
from alembic.operations import Operations

from .engine import lift_time_limits
from .faults import DatabaseUnavailable
from .locks import LockTimeout

# Whoever comes after one that waits for a table's lock waits behind it: this is what a change costs everybody else at
# most, each time that it tries. MySQL knows whole seconds only.
LOCK_WAIT_MS: Final = 400
MYSQL_LOCK_WAIT_SECONDS: Final = 1
# Pauses between, in which those who waited get on; the longest follows the most tries.
PAUSE_SECONDS: Final = (0.2, 2.0)
GIVE_UP_SECONDS: Final = 300.0

_POSTGRES_CONFLICTS: Final = frozenset({"55P03", "40P01"})  # lock_not_available, deadlock_detected
_MYSQL_CONFLICTS: Final = frozenset({1205, 1213})  # lock wait timeout (a table's too), deadlock


def limit_lock_waits(connection: sa.Connection) -> None:
    """Let statements on ``connection`` fail soon where they meet a lock; ``retry_while_locked`` tries again."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SET SESSION lock_timeout = {LOCK_WAIT_MS}")
        connection.commit()
    elif connection.dialect.name in {"mysql", "mariadb"}:
        connection.exec_driver_sql(f"SET SESSION lock_wait_timeout = {MYSQL_LOCK_WAIT_SECONDS}")
        connection.commit()


@contextmanager
def keeping_referring_rows(connection: sa.Connection) -> Iterator[None]:
    """Let SQLite's tables be made anew in the block without what refers to them going with the old ones.

    Dropping a table there deletes its rows first, and ON DELETE CASCADE what refers to them. The switch does nothing
    inside a transaction. ``find_orphans`` says whether every reference still leads somewhere.
    """
    if connection.dialect.name != "sqlite":
        yield
        return
    driver: Any = connection.connection.dbapi_connection
    driver.execute("PRAGMA foreign_keys=OFF")
    try:
        yield
    finally:
        if not connection.invalidated:
            connection.rollback()
            driver.execute("PRAGMA foreign_keys=ON")


def find_orphans(connection: sa.Connection | None) -> list[str]:
    """Return the tables with rows that refer to nothing; only SQLite can have any, while its switch is off."""
    if connection is None or connection.dialect.name != "sqlite":
        return []
    return sorted({str(row[0]) for row in connection.exec_driver_sql("PRAGMA foreign_key_check")})


def drop_tables(engine: sa.Engine, names: Collection[str]) -> None:
    """Drop the tables of these names, those of them that there are, in an order that their references allow."""
    with engine.connect().execution_options(is_write=True) as connection:
        lift_time_limits(connection)
        if connection.dialect.name == "sqlite":
            # Those of a virtual table go with it, and not without it.
            query = "SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE VIRTUAL TABLE%'"
            for name in set(connection.exec_driver_sql(query).scalars()).intersection(names):
                connection.exec_driver_sql(f'DROP TABLE "{name}"')
        metadata = sa.MetaData()
        metadata.reflect(connection, only=lambda name, _: name in names)
        metadata.drop_all(connection, tables=[table for table in metadata.sorted_tables if table.name in names])
        connection.commit()


@contextmanager
def waiting_for_others(op: Operations) -> Iterator[None]:
    """Let CREATE or DROP INDEX CONCURRENTLY in the block wait for as long as it takes: nobody waits behind it.

    It waits for every transaction that was there before, and a timeout would throw a finished index away. On PostgreSQL
    each statement of the block is committed by itself; elsewhere the block is as any other.
    """
    if op.get_bind().dialect.name != "postgresql":
        yield
        return
    with op.get_context().autocommit_block():
        connection = op.get_bind()
        connection.exec_driver_sql(f"SET SESSION lock_timeout = {round(GIVE_UP_SECONDS * 1000)}")
        try:
            yield
        finally:
            connection.exec_driver_sql(f"SET SESSION lock_timeout = {LOCK_WAIT_MS}")


def retry_while_locked(change: Callable[[], None]) -> None:
    """Call ``change`` until it meets no lock of somebody else's; it goes on where it left off.

    Raises:
        LockTimeout: somebody held one all the time; the message says what to do.
    """
    give_up_at = time.monotonic() + GIVE_UP_SECONDS
    shortest, pause = PAUSE_SECONDS[0], PAUSE_SECONDS[0]
    while True:
        try:
            change()
        except (DatabaseUnavailable, sa.exc.DBAPIError) as error:
            if not is_lock_conflict(error):
                raise
            if time.monotonic() > give_up_at:
                raise LockTimeout(
                    "Other transactions hold the tables all the time. End the long ones (pg_stat_activity, SHOW"
                    " PROCESSLIST), then run this again: it goes on where it left off."
                ) from error
        else:
            return
        time.sleep(random.uniform(shortest, pause))  # noqa: S311 - no secret hangs on it
        pause = min(pause * 2, PAUSE_SECONDS[1])


def is_lock_conflict(error: Exception) -> bool:
    """Say whether the database gave up a statement because somebody else held a lock."""
    origin = error.orig if isinstance(error, sa.exc.DBAPIError) else error.__cause__
    if isinstance(origin, psycopg2.Error):
        return origin.pgcode in _POSTGRES_CONFLICTS
    return isinstance(origin, pymysql.err.Error) and origin.args[:1] != () and origin.args[0] in _MYSQL_CONFLICTS
