"""Queries that only read, for what is asked often: compiled once, and sent straight to the driver."""

import collections
import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Generic, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

import psycopg2
import sqlalchemy as sa
from sqlalchemy.pool import PoolProxiedConnection

from .translation import raise_translated

Row = TypeVar("Row")
_Convert: TypeAlias = Callable[[Any], Any]

logger = logging.getLogger(__name__)

# The execution option of an engine whose look-ups may be prepared statements.
PREPARES: Final = "prepares"
# The numbers of PostgreSQL's types.
_FLOAT8: Final = 701
_NUMERIC: Final = 1700
_VALUE: Final = "value"
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_NOT_PREPARED: Final = "26000"  # invalid_sql_statement_name
_UNUSABLE: Final = frozenset({
    _NOT_PREPARED,
    "42P05",  # duplicate_prepared_statement: somebody else has prepared one of this name
    "0A000",  # feature_not_supported: "cached plan must not change result type", after a migration
})  # fmt: skip


class Query(Generic[Row]):
    """A SELECT of which only the parameters change.

    What it means to a driver is found out once, not for each run. SQLAlchemy's pool lends the connection and its
    dialect converts the columns; between these, its way to a row takes longer than the row does. Deadlines and the
    names of faults are those of every other statement.
    """

    def __init__(self, statement: sa.Select[Any], *, row: type[Row] | None = None, is_prepared: bool = False) -> None:
        """``row`` is a named tuple of the columns; what ``is_prepared`` PostgreSQL plans once for each connection."""
        self.statement = statement
        made: Any = row or collections.namedtuple("Row", statement.selected_columns.keys())  # noqa: PYI024 - the columns tell the fields
        self.make_row: Callable[[Iterable[Any]], Row] = made._make
        self._is_prepared = is_prepared
        self._compiled: WeakKeyDictionary[sa.Engine, _DriverQuery] = WeakKeyDictionary()

    def fetch(self, engine: sa.Engine, parameters: Mapping[str, Any]) -> list[Row]:
        """Return the rows: one round trip, outside of any transaction.

        Raises:
            DatabaseUnavailable: the database does not answer.
        """
        compiled = self._compiled.get(engine)
        if compiled is None:
            make = _PostgresQuery if engine.dialect.name == "postgresql" else _DriverQuery
            compiled = self._compiled[engine] = make(engine, self.statement, is_prepared=self._is_prepared)
        values: dict[str, Any] = {**compiled.defaults, **parameters}
        for name, bind in compiled.binders:
            values[name] = bind(values[name])
        connection = None
        try:
            connection = engine.raw_connection()
            cursor = connection.cursor()
            if isinstance(compiled, _PostgresQuery):
                compiled.execute(cursor, connection, values)
            elif compiled.order is None:
                cursor.execute(compiled.text, values)
            else:
                cursor.execute(compiled.text, [values[name] for name in compiled.order])
            rows = cursor.fetchall()
            cursor.close()
        except BaseException as error:  # noqa: BLE001 - what interrupts a statement ends its connection
            raise_translated(engine, connection, error)
        connection.close()
        made = []
        for row in rows:
            columns = list(row)
            for place, convert in compiled.converters:
                columns[place] = convert(columns[place])
            made.append(self.make_row(columns))
        return made


class Lookup(Query[Any]):
    """A SELECT of the row that has a text in the column ``by``; all else in it is constant."""

    def __init__(
        self, statement: sa.Select[*tuple[Any, ...]], *, by: sa.ColumnElement[str] | sa.orm.InstrumentedAttribute[str]
    ) -> None:
        super().__init__(statement.where(by == sa.bindparam(_VALUE, required=False)), is_prepared=True)

    def find(self, engine: sa.Engine, value: str) -> Any:  # noqa: ANN401 - a named tuple of the statement's columns
        """Return the row that has ``value``, or None: one round trip, outside of any transaction.

        Raises:
            DatabaseUnavailable: the database does not answer.
        """
        rows = self.fetch(engine, {_VALUE: value})
        return rows[0] if rows else None


class _DriverQuery:
    """A statement as the driver of one engine is given it."""

    def __init__(self, engine: sa.Engine, statement: sa.Select[Any], *, is_prepared: bool) -> None:
        dialect = engine.dialect
        compiled: Any = statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
        self.text: str = compiled.string
        self.defaults: dict[str, Any] = compiled.params
        # Of the parameters, where the driver knows no names.
        self.order: list[str] | None = compiled.positiontup
        self.is_prepared = is_prepared and engine.get_execution_options().get(PREPARES, True)
        types = {name: compiled.binds[name].type.dialect_impl(dialect) for name in self.defaults}
        binders = ((name, type_.bind_processor(dialect)) for name, type_ in types.items())
        self.binders: list[tuple[str, _Convert]] = [(name, bind) for name, bind in binders if bind is not None]
        converters = (_find_converter(column.type, dialect) for column in statement.selected_columns)
        self.converters: list[tuple[int, _Convert]] = [
            (place, convert) for place, convert in enumerate(converters) if convert is not None
        ]


def _find_converter(column_type: sa.types.TypeEngine[Any], dialect: sa.Dialect) -> _Convert | None:
    """Return what makes a value of ``column_type`` of what the driver returned, if anything has to."""
    implemented = column_type.dialect_impl(dialect)
    inner = getattr(implemented, "impl_instance", implemented)
    # PostgreSQL's numbers alone ask what the driver said they are.
    oid = _FLOAT8 if isinstance(inner, sa.Float) else _NUMERIC if isinstance(inner, sa.Numeric) else None
    return implemented.result_processor(dialect, oid)


class _PostgresQuery(_DriverQuery):
    """A statement that PostgreSQL may plan once for each connection: to plan it takes longer than to carry it out."""

    def __init__(self, engine: sa.Engine, statement: sa.Select[Any], *, is_prepared: bool) -> None:
        super().__init__(engine, statement, is_prepared=is_prepared)
        text = self.text % {name: f"${number}" for number, name in enumerate(self.defaults, 1)}
        # A new release with another statement does not meet the plan of the former.
        self._name = f"gatehouse_{hashlib.sha256(text.encode()).hexdigest()[:16]}"
        self._prepare = f"PREPARE {self._name} AS {text}"
        arguments = ", ".join(f"%({name})s" for name in self.defaults)
        self._execute_prepared = f"EXECUTE {self._name}" + (f"({arguments})" if arguments else "")

    def execute(self, cursor: Any, connection: PoolProxiedConnection, values: dict[str, Any]) -> None:  # noqa: ANN401 - psycopg2's
        """Have ``cursor`` find the rows, by the plan that its connection has made if there is one."""
        driver: Any = connection.dbapi_connection
        driver.autocommit = True  # No round trips for a transaction; the pool takes it back.
        info = connection.info
        if self.is_prepared and info.get(self._name, True):
            try:
                if self._name not in info:
                    cursor.execute(self._prepare)
                    info[self._name] = True
                cursor.execute(self._execute_prepared, values)
            except psycopg2.Error as error:
                if error.pgcode not in _UNUSABLE:
                    raise
                info[self._name] = False
                self._note(error.pgcode)
            else:
                return
        cursor.execute(self.text, values)

    def _note(self, code: str) -> None:
        """Stop preparing where statements are forgotten: whoever asks next may meet another server's session."""
        if code == _NOT_PREPARED and self.is_prepared:
            self.is_prepared = False
            logger.warning(
                "a prepared statement was forgotten, so this process prepares none any more; behind a connection pooler"
                " set prepared_statements=off in DATABASE_URL"
            )
