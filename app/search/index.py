"""The full-text index of a table: made, filled and dropped by migrations, kept in step by each database."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from .text import SearchText, make_search_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from alembic.operations import Operations

FILL_BATCH: Final = 500

# {table}, its {key} of type {key_type} and its {column}; beside it the {rows} that are indexed, and the index {fts}.
# The rows have a rowid of their own: those of a table whose key is no integer change in a VACUUM.
_SQLITE_UP: Final = """\
CREATE TABLE IF NOT EXISTS {rows} (number INTEGER PRIMARY KEY, key {key_type} NOT NULL UNIQUE, {column} TEXT NOT NULL)

CREATE VIRTUAL TABLE IF NOT EXISTS {fts} USING fts5 ({column}, content='{rows}', content_rowid='number',
 tokenize='ascii', prefix='3 4 5 6', detail='none', columnsize=0)

CREATE TRIGGER IF NOT EXISTS {fts}_insert AFTER INSERT ON {table} BEGIN
 INSERT INTO {rows} (key, {column}) VALUES (new.{key}, new.{column}); END

CREATE TRIGGER IF NOT EXISTS {fts}_update AFTER UPDATE OF {key}, {column} ON {table} BEGIN
 UPDATE {rows} SET key = new.{key}, {column} = new.{column} WHERE key = old.{key}; END

CREATE TRIGGER IF NOT EXISTS {fts}_delete AFTER DELETE ON {table} BEGIN
 DELETE FROM {rows} WHERE key = old.{key}; END

CREATE TRIGGER IF NOT EXISTS {rows}_insert AFTER INSERT ON {rows} BEGIN
 INSERT INTO {fts} (rowid, {column}) VALUES (new.number, new.{column}); END

CREATE TRIGGER IF NOT EXISTS {rows}_delete AFTER DELETE ON {rows} BEGIN
 INSERT INTO {fts} ({fts}, rowid, {column}) VALUES ('delete', old.number, old.{column}); END

CREATE TRIGGER IF NOT EXISTS {rows}_update AFTER UPDATE ON {rows} BEGIN
 INSERT INTO {fts} ({fts}, rowid, {column}) VALUES ('delete', old.number, old.{column});
 INSERT INTO {fts} (rowid, {column}) VALUES (new.number, new.{column}); END

INSERT INTO {rows} (key, {column}) SELECT {key}, {column} FROM {table} WHERE {key} NOT IN (SELECT key FROM {rows})
"""
_SQLITE_DOWN: Final = (
    "DROP TRIGGER IF EXISTS {fts}_insert",
    "DROP TRIGGER IF EXISTS {fts}_update",
    "DROP TRIGGER IF EXISTS {fts}_delete",
    "DROP TABLE IF EXISTS {rows}",
    "DROP TABLE IF EXISTS {fts}",
)


@dataclasses.dataclass(frozen=True)
class SearchIndex:
    """The full-text index of a table's column of ``SearchText``. What a migration does with it may be done twice."""

    table: str
    column: str = "search_text"
    key: str = "id"
    """The primary key of the table."""
    key_type: sa.types.TypeEngine[Any] = dataclasses.field(default_factory=sa.Uuid)

    @property
    def name(self) -> str:
        """The index's name, where it is one."""
        return f"ix_{self.table}_search"

    @property
    def fts_table(self) -> str:
        """SQLite's full-text index, which is a table there."""
        return f"{self.table}_search"

    @property
    def rows_table(self) -> str:
        """The table that SQLite's index is of."""
        return f"{self.table}_search_rows"

    def create(self, op: Operations) -> None:
        """Make the index.

        On PostgreSQL nobody waits for it (CREATE INDEX CONCURRENTLY), and the connection must be in autocommit. On
        MySQL reads go on meanwhile, writes wait. On SQLite it consists of triggers, which go away where Alembic's batch
        mode makes the table anew: such a migration drops the index first and creates it afterwards.
        """
        connection = op.get_bind()
        if connection.dialect.name == "postgresql":
            vector = f"to_tsvector('simple'::regconfig, {self.column})"
            # One that was interrupted is there, and invalid.
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {self.name}")
            op.execute(f"CREATE INDEX CONCURRENTLY {self.name} ON {self.table} USING gin (({vector}))")
        elif connection.dialect.name == "sqlite":
            self._execute_all(op, _SQLITE_UP.split("\n\n"))
        elif not self._is_there(connection):
            op.execute(f"CREATE FULLTEXT INDEX {self.name} ON {self.table} ({self.column})")

    def drop(self, op: Operations) -> None:
        """Drop the index; on PostgreSQL the connection must be in autocommit."""
        connection = op.get_bind()
        if connection.dialect.name == "postgresql":
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {self.name}")
        elif connection.dialect.name == "sqlite":
            self._execute_all(op, _SQLITE_DOWN)
        elif self._is_there(connection):
            op.execute(f"DROP INDEX {self.name} ON {self.table}")

    def fill(self, op: Operations, *sources: str) -> None:
        """Make the search text of every row that has none from its columns ``sources``.

        It is done in batches that nobody waits long for.
        """
        key = sa.column(self.key, self.key_type)
        table = sa.table(self.table, key, *map(sa.column, sources), sa.column(self.column))
        key, text = table.c[self.key], table.c[self.column]
        missing = sa.select(key, *(table.c[source] for source in sources)).where(text == "").order_by(key)
        last = None
        with _each_on_its_own(op):
            while True:
                query = missing if last is None else missing.where(key > last)
                rows = op.get_bind().execute(query.limit(FILL_BATCH)).all()
                if not rows:
                    return
                last = rows[-1][0]
                texts = {row[0]: make_search_text(*row[1:]) for row in rows}
                # One statement for the batch. Whoever changed a row meanwhile has written the newer text.
                op.get_bind().execute(
                    sa.update(table).where(key.in_(texts), text == "").values({self.column: sa.case(texts, value=key)})
                )

    def _execute_all(self, op: Operations, statements: Sequence[str]) -> None:
        names = {
            "table": self.table,
            "column": self.column,
            "key": self.key,
            "key_type": self.key_type.compile(dialect=sqlite.dialect()),
            "rows": self.rows_table,
            "fts": self.fts_table,
        }
        for statement in statements:
            op.execute(statement.format_map(names))

    def _is_there(self, connection: sa.Connection) -> bool:
        return self.name in {index["name"] for index in sa.inspect(connection).get_indexes(self.table)}


def is_search_object(name: str | None, metadata: sa.MetaData) -> bool:
    """Say whether a table or index of this name belongs to the search of one of the tables; no model knows it."""
    indexes = (
        SearchIndex(table.name)
        for table in metadata.tables.values()
        if any(isinstance(column.type, SearchText) for column in table.columns)
    )
    return name is not None and any(name == index.name or name.startswith(index.fts_table) for index in indexes)


@contextlib.contextmanager
def _each_on_its_own(op: Operations) -> Iterator[None]:
    """Commit each statement of the block by itself, where the database can change its schema in a transaction."""
    if op.get_bind().dialect.name == "sqlite":
        yield
        return
    with op.get_context().autocommit_block():
        yield
