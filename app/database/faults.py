"""What can go wrong between us and a database, told apart by what may be done about it."""

import contextlib
import enum
import re
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any, Final

import psycopg2
import pymysql
import sqlalchemy as sa
from pymysql.constants import ER

from app.utils import Conflict, Unavailable


class DatabaseUnavailable(Unavailable):
    """The database cannot answer at present; nothing was changed."""

    detail = "The database is away. Nothing was changed; try again shortly."


class ConnectionLost(DatabaseUnavailable, has_own_code=False):
    """The connection went away, or no longer takes writes, before a commit was sent: the work may be run again."""


class CommitOutcomeUnknown(DatabaseUnavailable):
    """The commit was sent and no answer came: it may have happened or not. Never run the work again blindly."""

    code = "outcome_unknown"
    title = "Outcome unknown"
    detail = "Whether the change was stored is unknown. Look, or do the same again: that is safe."


class DatabaseFileGone(DatabaseUnavailable):
    """The file of an SQLite database is not there, or is no longer the one that was opened."""

    detail = (
        "The database's file was deleted, moved or replaced, or never made. Nothing was changed. The operator has to"
        " put it back, or to run setup."
    )


class ReferenceRefused(Conflict):
    """A foreign key refused: a row would refer to one that is not there, or one that is referred to would go.

    ``table`` is the table that refers, and ``constraint`` the foreign key; SQLite names neither.
    """

    detail = "Something that this refers to is gone, or something still refers to it. Nothing was changed."

    def __init__(self, *, table: str | None = None, constraint: str | None = None) -> None:
        self.table = table
        self.constraint = constraint
        super().__init__()


class Kind(enum.Enum):
    """What a driver's error means for the work under way."""

    LOST = "the connection is gone"
    READ_ONLY = "the server takes no writes any more"
    CONFLICT = "another transaction won; run the work again"
    BUSY = "the server is there, and cannot serve us at present"
    CLOSED = "the file cannot be opened"
    OTHER = "the work itself is at fault"


# PostgreSQL's SQLSTATEs, whole or their first two characters. https://www.postgresql.org/docs/current/errcodes-appendix.html
_POSTGRES: Final = {
    "08": Kind.LOST,  # connection exception
    "57P01": Kind.LOST,  # admin_shutdown: also what pg_terminate_backend says
    "57P02": Kind.LOST,  # crash_shutdown
    "57P03": Kind.LOST,  # cannot_connect_now: starting up, or shutting down
    "57P05": Kind.LOST,  # idle_session_timeout
    "25P03": Kind.LOST,  # idle_in_transaction_session_timeout
    "25006": Kind.READ_ONLY,  # read_only_sql_transaction
    "40001": Kind.CONFLICT,  # serialization_failure
    "40P01": Kind.CONFLICT,  # deadlock_detected
    "55P03": Kind.BUSY,  # lock_not_available
    "57014": Kind.BUSY,  # query_canceled: statement_timeout
    "53": Kind.BUSY,  # insufficient_resources: too many connections, disk full
    "57P04": Kind.BUSY,  # database_dropped
}
# MySQL's and MariaDB's numbers: 1000 to 1999 and above 3000 the server's, 2000 to 2999 the client's.
_MYSQL: Final = {
    1040: Kind.BUSY,  # too many connections
    1053: Kind.LOST,  # server shutdown in progress
    1077: Kind.LOST,  # normal shutdown
    1152: Kind.LOST,  # aborted connection
    1158: Kind.LOST,  # network read error
    1159: Kind.LOST,
    1160: Kind.LOST,
    1161: Kind.LOST,
    1184: Kind.LOST,
    1203: Kind.BUSY,  # this user has too many connections
    1021: Kind.BUSY,  # disk full
    1026: Kind.BUSY,  # a file of the server's could not be written
    1030: Kind.BUSY,  # the storage engine failed, most often for want of room
    1114: Kind.BUSY,  # the table is full, or the disk below it
    1205: Kind.CONFLICT,  # lock wait timeout
    1213: Kind.CONFLICT,  # deadlock
    1020: Kind.CONFLICT,  # record has changed since last read (MariaDB's innodb_snapshot_isolation)
    1290: Kind.READ_ONLY,  # running with --read-only, or with another option: see _classify_mysql
    1792: Kind.READ_ONLY,  # cannot write in a read-only transaction
    1836: Kind.READ_ONLY,  # running in read-only mode
    1317: Kind.BUSY,  # query interrupted
    1927: Kind.LOST,  # connection was killed
    1969: Kind.BUSY,  # max_statement_time (MariaDB)
    3024: Kind.BUSY,  # max_execution_time (MySQL)
    3169: Kind.LOST,  # session was killed
    4031: Kind.LOST,  # disconnected for inactivity
}
_SQLITE: Final = {
    sqlite3.SQLITE_BUSY: Kind.BUSY,
    sqlite3.SQLITE_LOCKED: Kind.BUSY,
    sqlite3.SQLITE_FULL: Kind.BUSY,
    sqlite3.SQLITE_READONLY: Kind.READ_ONLY,
    sqlite3.SQLITE_CANTOPEN: Kind.CLOSED,
    sqlite3.SQLITE_IOERR: Kind.LOST,
}

_POSTGRES_REFERENCES: Final = {"23503", "23001"}  # foreign_key_violation, restrict_violation
_MYSQL_REFERENCES: Final = {
    ER.NO_REFERENCED_ROW,
    ER.NO_REFERENCED_ROW_2,
    ER.ROW_IS_REFERENCED,
    ER.ROW_IS_REFERENCED_2,
}
_MYSQL_REFERENCE: Final = re.compile(r"\(`[^`]+`\.`(?P<table>[^`]+)`, CONSTRAINT `(?P<constraint>[^`]+)`")
_SQLITE_REFERENCE: Final = "FOREIGN KEY constraint failed"


def classify(error: BaseException) -> Kind:
    """Return what a driver's ``error`` means."""
    if isinstance(error, psycopg2.Error):
        return _classify_postgres(error)
    if isinstance(error, pymysql.err.Error):
        return _classify_mysql(error)
    if isinstance(error, sqlite3.Error):
        # Extended codes carry the plain one in their low byte.
        return _SQLITE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, Kind.OTHER)
    return Kind.OTHER


def is_timeout(error: BaseException) -> bool:
    """Say whether ``error`` is a deadline that passed, rather than something that the other side said or did."""
    return isinstance(error, TimeoutError) or isinstance(error.__cause__, TimeoutError)


def is_rolled_back(error: BaseException) -> bool:
    """Say whether ``error``, answered to a commit, proves that nothing of it was stored."""
    if isinstance(error, psycopg2.Error):
        # A server that shuts down (57P01) while a commit waits for its standby has stored it all the same, and 40003 is
        # SQL's own word for not knowing.
        code = error.pgcode or ""
        return code[:2] in {"23", "25", "40"} and code != "40003"
    if isinstance(error, pymysql.err.Error):
        return classify(error) in {Kind.CONFLICT, Kind.READ_ONLY} or isinstance(error, pymysql.err.IntegrityError)
    return classify(error) in {Kind.BUSY, Kind.CLOSED, Kind.OTHER}


@contextlib.contextmanager
def refuse_duplicate(column: sa.orm.InstrumentedAttribute[Any], refusal: Callable[[], Exception]) -> Iterator[None]:
    """Raise ``refusal`` where the block stores a value of ``column``, unique by itself, that another row has."""
    try:
        yield
    except sa.exc.IntegrityError as error:
        if is_duplicate(error, column):
            raise refusal() from error
        raise


def is_duplicate(error: sa.exc.IntegrityError, column: sa.orm.InstrumentedAttribute[Any]) -> bool:
    """Say whether ``error`` means that another row has the same value in ``column``, which is unique by itself."""
    table: Any = column.class_.__table__
    name = next(
        constraint.name
        for constraint in table.constraints
        if isinstance(constraint, sa.UniqueConstraint) and list(constraint.columns) == [table.c[column.key]]
    )
    cause = error.orig
    if isinstance(cause, psycopg2.Error):
        return cause.diag.constraint_name == name
    if isinstance(cause, pymysql.err.Error):
        # MySQL puts the table before the name, MariaDB does not.
        return cause.args[0] == ER.DUP_ENTRY and re.search(rf"for key '(.*\.)?{name}'$", str(cause.args[1])) is not None
    return str(cause) == f"UNIQUE constraint failed: {table.name}.{column.key}"


@contextlib.contextmanager
def refuse_missing(column: sa.orm.InstrumentedAttribute[Any], refusal: Callable[[], Exception]) -> Iterator[None]:
    """Raise ``refusal`` where the block stores a value of ``column`` that refers to a row that is not there.

    SQLite does not say which reference was refused: there, any in the block counts.
    """
    try:
        yield
    except ReferenceRefused as error:
        table: Any = column.class_.__table__
        names = {key.constraint.name for key in table.c[column.key].foreign_keys if key.constraint is not None}
        if error.constraint is None or (error.table == table.name and error.constraint in names):
            raise refusal() from error
        raise


def find_refused_reference(error: BaseException) -> ReferenceRefused | None:
    """Return what a driver's ``error`` means if a foreign key refused."""
    if isinstance(error, psycopg2.Error):
        if error.pgcode not in _POSTGRES_REFERENCES:
            return None
        return ReferenceRefused(table=error.diag.table_name, constraint=error.diag.constraint_name)
    if isinstance(error, pymysql.err.Error):
        if not error.args or error.args[0] not in _MYSQL_REFERENCES:
            return None
        named = _MYSQL_REFERENCE.search(str(error.args[-1]))
        return ReferenceRefused(**named.groupdict()) if named else ReferenceRefused()
    # The message, since RESTRICT has the code of triggers.
    return ReferenceRefused() if isinstance(error, sqlite3.Error) and str(error) == _SQLITE_REFERENCE else None


def _classify_postgres(error: psycopg2.Error) -> Kind:
    code = error.pgcode
    if code is None:
        # No word from the server: libpq's or our own, and the connection is of no use any more.
        return Kind.LOST if isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError) else Kind.OTHER
    return _POSTGRES.get(code) or _POSTGRES.get(code[:2]) or Kind.OTHER


def _classify_mysql(error: pymysql.err.Error) -> Kind:
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    if code == 1290:
        # The same number serves every option; read_only is spelled with a hyphen, an underscore or "super".
        return Kind.READ_ONLY if "read" in str(error.args[-1]).lower() else Kind.OTHER
    if 2000 <= code < 3000 or (code == 0 and isinstance(error, pymysql.err.InterfaceError)):
        return Kind.LOST
    return _MYSQL.get(code, Kind.OTHER)
