"""Migrations that were interrupted go on where they ended.

PostgreSQL takes back what a migration did that ends half-way, but not what it committed as it went; MySQL and MariaDB
commit each change of the schema by itself. So each migration is noted before it begins, whoever migrates next finishes
it first, in its own direction, and each of its steps finds out whether it is done already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from alembic.operations import Operations, ops, toimpl
from alembic.runtime.migration import RevisionStep

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

TABLE: Final = "alembic_progress"
_MYSQL: Final = frozenset({"mysql", "mariadb"})


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
    with Operations.context(context):
        _run_migrations(context, script)


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


# --- the steps, each of which finds out whether it is done already ---


def _is_there(
    operations: Operations, table: str, *, column: str | None = None, index: str | None = None
) -> bool | None:
    """Say whether what is named is there; None where nobody needs to know, because all of it is taken back together."""
    connection = operations.get_bind()
    if connection.dialect.name not in _MYSQL or operations.migration_context.as_sql:
        return None
    inspector = sa.inspect(connection)
    if not inspector.has_table(table):
        return False
    if column is not None:
        return column in {each["name"] for each in inspector.get_columns(table)}
    if index is not None:
        return index in {each["name"] for each in inspector.get_indexes(table)}
    return True


@Operations.implementation_for(ops.CreateTableOp, replace=True)
def _create_table(operations: Operations, operation: ops.CreateTableOp) -> sa.Table:
    if _is_there(operations, operation.table_name):
        return operation.to_table(operations.migration_context)
    return toimpl.create_table(operations, operation)


@Operations.implementation_for(ops.DropTableOp, replace=True)
def _drop_table(operations: Operations, operation: ops.DropTableOp) -> None:
    if _is_there(operations, operation.table_name) is not False:
        toimpl.drop_table(operations, operation)


@Operations.implementation_for(ops.CreateIndexOp, replace=True)
def _create_index(operations: Operations, operation: ops.CreateIndexOp) -> None:
    if not _is_there(operations, operation.table_name, index=operation.index_name):
        toimpl.create_index(operations, operation)


@Operations.implementation_for(ops.DropIndexOp, replace=True)
def _drop_index(operations: Operations, operation: ops.DropIndexOp) -> None:
    if _is_there(operations, operation.table_name or "", index=operation.index_name) is not False:
        toimpl.drop_index(operations, operation)


@Operations.implementation_for(ops.AddColumnOp, replace=True)
def _add_column(operations: Operations, operation: ops.AddColumnOp) -> None:
    if not _is_there(operations, operation.table_name, column=operation.column.name):
        toimpl.add_column(operations, operation)


@Operations.implementation_for(ops.DropColumnOp, replace=True)
def _drop_column(operations: Operations, operation: ops.DropColumnOp) -> None:
    if _is_there(operations, operation.table_name, column=operation.column_name) is not False:
        toimpl.drop_column(operations, operation)


@Operations.implementation_for(ops.BulkInsertOp, replace=True)
def _bulk_insert(operations: Operations, operation: ops.BulkInsertOp) -> None:
    """Insert the rows whose key, or first unique column, is not there yet."""
    table: Any = operation.table
    if _is_there(operations, table.name):
        unique = [each for each in table.constraints if isinstance(each, sa.UniqueConstraint)]
        columns = list((unique[0] if unique else table.primary_key).columns)
        stored = {tuple(row) for row in operations.get_bind().execute(sa.select(*columns))}
        rows = [row for row in operation.rows if tuple(row[column.name] for column in columns) not in stored]
        operation = ops.BulkInsertOp(table, rows, multiinsert=operation.multiinsert)
    if operation.rows:
        toimpl.bulk_insert(operations, operation)
