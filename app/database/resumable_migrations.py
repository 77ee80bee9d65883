"""Migrations that were interrupted go on where they ended.

PostgreSQL takes back what a migration did that ends half-way, but not what it committed as it went; MySQL and MariaDB
commit each change of the schema by itself. So each migration is noted before it begins, whoever migrates next finishes
it first, in its own direction, and each of its steps finds out whether it is done already.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

import sqlalchemy as sa
from alembic.ddl.mysql import MySQLImpl
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext, RevisionStep
from alembic.script import ScriptDirectory

TABLE: Final = "alembic_progress"


class InterruptedMigration:
    """The migration that ended half-way, as the database remembers it."""

    def __init__(self, revision: str, *, is_upgrade: bool) -> None:
        self.revision = revision
        self.is_upgrade = is_upgrade

    def list_steps(self, script: ScriptDirectory, heads: Any) -> list[Any]:  # noqa: ANN401 - Alembic's own
        """Return what is left to do of it, seen from the present ``heads``: its one step, or nothing."""
        if self.is_upgrade:
            return script._upgrade_revs(self.revision, heads)  # noqa: SLF001 - what Alembic's commands call
        if self.revision not in heads:
            return []
        below = script.get_revision(self.revision).down_revision
        return script._downgrade_revs(str(below or "base"), heads)  # noqa: SLF001 - likewise


def find_interrupted(connection: sa.Connection) -> InterruptedMigration | None:
    """Return the migration that ended half-way, if there is one."""
    if not sa.inspect(connection).has_table(TABLE):
        return None
    row = connection.exec_driver_sql(f"SELECT revision, is_upgrade FROM {TABLE}").one_or_none()  # noqa: S608 - our own name
    return None if row is None else InterruptedMigration(row[0], is_upgrade=bool(row[1]))


def run_migrations(context: MigrationContext, script: ScriptDirectory) -> None:
    """Finish the migration that was interrupted, if one was, then run those that ``context`` was made for."""
    make_resumable(context)
    with Operations.context(context):
        _run_migrations(context, script)


def make_resumable(context: MigrationContext) -> None:
    """Have the steps that ``context`` takes on MySQL and MariaDB find out whether they are done already.

    Elsewhere nobody needs to know, because all of a migration is taken back together.
    """
    if context.dialect.name in {"mysql", "mariadb"}:
        context.impl = _ResumableImpl(
            context.dialect, context.connection, context.as_sql, None, context.output_buffer, context.opts
        )


def _run_migrations(context: MigrationContext, script: ScriptDirectory) -> None:
    connection = context.connection
    if connection is None or connection.dialect.name == "sqlite":
        context.run_migrations()
        return
    wanted = context._migrations_fn  # noqa: SLF001 - Alembic has no other way to see a migration before it begins
    assert wanted is not None  # noqa: S101 - Alembic's commands always give one
    interrupted = find_interrupted(connection)
    connection.rollback()
    if interrupted is not None:
        left = interrupted
        context._migrations_fn = lambda heads, _: _note_each(connection, left.list_steps(script, heads))  # noqa: SLF001
        context.run_migrations()
    _forget(connection)
    context._migrations_fn = lambda heads, ctx: _note_each(connection, wanted(heads, ctx))  # noqa: SLF001
    context.run_migrations()


def _note_each(connection: sa.Connection, steps: Any) -> Iterator[Any]:  # noqa: ANN401 - Alembic's own
    for step in steps:
        if isinstance(step, RevisionStep):
            _note(connection, step)
        yield step
        _forget(connection)


def _note(connection: sa.Connection, step: RevisionStep) -> None:
    connection.exec_driver_sql(
        f"CREATE TABLE IF NOT EXISTS {TABLE} (revision VARCHAR(32) PRIMARY KEY, is_upgrade INTEGER NOT NULL)"
    )
    connection.exec_driver_sql(f"DELETE FROM {TABLE}")  # noqa: S608 - our own name
    note = sa.text(f"INSERT INTO {TABLE} VALUES (:revision, :is_upgrade)")  # noqa: S608 - likewise
    connection.execute(note, {"revision": step.revision.revision, "is_upgrade": int(step.is_upgrade)})
    connection.commit()


def _forget(connection: sa.Connection) -> None:
    connection.exec_driver_sql(f"DROP TABLE IF EXISTS {TABLE}")
    connection.commit()


class _ResumableImpl(MySQLImpl):
    """The schema of a MySQL or MariaDB, each change of which finds out whether it is done already."""

    def create_table(self, table: sa.Table, **options: Any) -> None:  # noqa: ANN401 - Alembic's own
        if not self._inspect().has_table(table.name):
            super().create_table(table, **options)

    def drop_table(self, table: sa.Table, **options: Any) -> None:  # noqa: ANN401 - likewise
        if self._inspect().has_table(table.name):
            super().drop_table(table, **options)

    def create_index(self, index: sa.Index, **options: Any) -> None:  # noqa: ANN401 - likewise
        if not self._has_index(index):
            super().create_index(index, **options)

    def drop_index(self, index: sa.Index, **options: Any) -> None:  # noqa: ANN401 - likewise
        if self._has_index(index):
            super().drop_index(index, **options)

    def add_column(self, table_name: str, column: sa.Column[Any], **options: Any) -> None:  # noqa: ANN401 - likewise
        if not self._has_column(table_name, column):
            super().add_column(table_name, column, **options)

    def drop_column(self, table_name: str, column: sa.Column[Any], **options: Any) -> None:  # noqa: ANN401 - likewise
        if self._has_column(table_name, column):
            super().drop_column(table_name, column, **options)

    def add_constraint(self, const: Any, **options: Any) -> None:  # noqa: ANN401 - likewise
        if not self._has_constraint(const):
            super().add_constraint(const, **options)

    def drop_constraint(self, const: sa.Constraint, **options: Any) -> None:  # noqa: ANN401 - likewise
        if self._has_constraint(const):
            super().drop_constraint(const, **options)

    def bulk_insert(self, table: Any, rows: list[dict[str, Any]], multiinsert: bool = True) -> None:  # noqa: ANN401, FBT001, FBT002 - likewise
        """Insert the rows whose first unique columns, key, or columns altogether are not there yet."""
        unique = [each for each in getattr(table, "constraints", ()) if isinstance(each, sa.UniqueConstraint)]
        columns = list(unique[0].columns if unique else table.primary_key) or list(table.columns)
        stored = {tuple(row) for row in self._connection.execute(sa.select(*columns))}
        missing = [row for row in rows if tuple(row.get(column.name) for column in columns) not in stored]
        super().bulk_insert(table, missing, multiinsert)

    @property
    def _connection(self) -> sa.Connection:
        assert self.connection is not None  # noqa: S101 - offline nothing is run again
        return self.connection

    def _inspect(self) -> sa.Inspector:
        return sa.inspect(self._connection)

    def _has_column(self, table: str, column: sa.Column[Any]) -> bool:
        return column.name in _list_names(self._inspect().get_columns, table)

    def _has_index(self, index: sa.Index) -> bool:
        assert index.table is not None  # noqa: S101 - MySQL's indexes belong to one
        return index.name in _list_names(self._inspect().get_indexes, index.table.name)

    def _has_constraint(self, constraint: sa.Constraint) -> bool:
        inspector = self._inspect()
        lists = (inspector.get_foreign_keys, inspector.get_unique_constraints, inspector.get_check_constraints)
        return any(constraint.name in _list_names(each, constraint.table.name) for each in lists)


def _list_names(list_all: Callable[[str], Any], table: str) -> set[str | None]:
    """Return the names of what ``list_all`` finds of ``table``; of a table that is gone, none."""
    try:
        return {each["name"] for each in list_all(table)}
    except sa.exc.NoSuchTableError:
        return set()
