"""Look-ups: a SELECT that finds one row by one text, for what every request asks."""

import collections
import hashlib
import logging
from collections.abc import Callable
from typing import Any, Final
from weakref import WeakKeyDictionary

import psycopg2
import sqlalchemy as sa
from sqlalchemy.pool import PoolProxiedConnection

from .translation import raise_translated

logger = logging.getLogger(__name__)

# The execution option of an engine whose look-ups may be prepared statements.
PREPARES: Final = "prepares"
_VALUE: Final = "value"
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_NOT_PREPARED: Final = "26000"  # invalid_sql_statement_name
_UNUSABLE: Final = frozenset({
    _NOT_PREPARED,
    "42P05",  # duplicate_prepared_statement: somebody else has prepared one of this name
    "0A000",  # feature_not_supported: "cached plan must not change result type", after a migration
})  # fmt: skip


class Lookup:
    """A SELECT of the row that has a text in the column ``by``; all else in it is constant.

    What it means to a driver is found out once, not for each row.

    SQLAlchemy's pool lends the connection and its dialect converts the columns; between these, its way to a row takes
    longer than the row does. Deadlines and the names of faults are those of every other statement.
    """

    def __init__(
        self, statement: sa.Select[*tuple[Any, ...]], *, by: sa.ColumnElement[str] | sa.orm.InstrumentedAttribute[str]
    ) -> None:
        self.statement = statement.where(by == sa.bindparam(_VALUE, required=False))
        self._row: Any = collections.namedtuple("Row", statement.selected_columns.keys())  # type: ignore[misc] # noqa: PYI024 - the columns tell the fields
        self._queries: WeakKeyDictionary[sa.Engine, _Query] = WeakKeyDictionary()

    def find(self, engine: sa.Engine, value: str) -> Any:  # noqa: ANN401 - a named tuple of the statement's columns
        """Return the row that has ``value``, or None: one round trip, outside of any transaction.

        Raises:
            DatabaseUnavailable: the database does not answer.
        """
        query = self._queries.get(engine)
        if query is None:
            is_postgres = engine.dialect.name == "postgresql"
            query = self._queries[engine] = (_PreparedQuery if is_postgres else _Query)(engine, self.statement)
        connection = None
        try:
            connection = engine.raw_connection()
            cursor = connection.cursor()
            query.execute(cursor, connection, value)
            row = cursor.fetchone()
            cursor.close()
        except BaseException as error:  # noqa: BLE001 - what interrupts a statement ends its connection
            raise_translated(engine, connection, error)
        connection.close()
        if row is None:
            return None
        values = list(row)
        for place, convert in query.converters:
            values[place] = convert(values[place])
        return self._row._make(values)


class _Query:
    """A statement as the driver of one engine is given it."""

    def __init__(self, engine: sa.Engine, statement: sa.Select[*tuple[Any, ...]]) -> None:
        dialect = engine.dialect
        compiled = statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
        self._text = compiled.string
        self._is_positional = dialect.positional
        processors = (
            column.type.dialect_impl(dialect).result_processor(dialect, None) for column in statement.selected_columns
        )
        self.converters: list[tuple[int, Callable[[Any], Any]]] = [
            (place, convert) for place, convert in enumerate(processors) if convert is not None
        ]

    def execute(self, cursor: Any, _connection: PoolProxiedConnection, value: str) -> None:  # noqa: ANN401 - any driver's
        """Have ``cursor`` find the row."""
        cursor.execute(self._text, (value,) if self._is_positional else {_VALUE: value})


class _PreparedQuery(_Query):
    """A statement that PostgreSQL plans once for each connection: to plan it takes longer than to carry it out."""

    def __init__(self, engine: sa.Engine, statement: sa.Select[*tuple[Any, ...]]) -> None:
        super().__init__(engine, statement)
        text = self._text % {_VALUE: "$1"}
        # A new release with another statement does not meet the plan of the former.
        self._name = f"gatehouse_{hashlib.sha256(text.encode()).hexdigest()[:16]}"
        self._prepare = f"PREPARE {self._name} AS {text}"
        self._execute_prepared = f"EXECUTE {self._name}(%s)"
        self._is_on = engine.get_execution_options().get(PREPARES, True)

    def execute(self, cursor: Any, connection: PoolProxiedConnection, value: str) -> None:  # noqa: ANN401 - psycopg2's
        """Have ``cursor`` find the row, by the plan that its connection has made if there is one."""
        driver: Any = connection.dbapi_connection
        driver.autocommit = True  # No round trips for a transaction; the pool takes it back.
        info = connection.info
        if self._is_on and info.get(self._name, True):
            try:
                if self._name not in info:
                    cursor.execute(self._prepare)
                    info[self._name] = True
                cursor.execute(self._execute_prepared, (value,))
            except psycopg2.Error as error:
                if error.pgcode not in _UNUSABLE:
                    raise
                info[self._name] = False
                self._note(error.pgcode)
            else:
                return
        super().execute(cursor, connection, value)

    def _note(self, code: str) -> None:
        """Stop preparing where statements are forgotten: whoever asks next may meet another server's session."""
        if code == _NOT_PREPARED and self._is_on:
            self._is_on = False
            logger.warning(
                "a prepared statement was forgotten, so this process prepares none any more; behind a connection pooler"
                " set prepared_statements=off in DATABASE_URL"
            )
