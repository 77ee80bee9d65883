"""Migrations that were interrupted go on where they ended.

PostgreSQL takes back what a migration did that ends half-way, but not what it committed as it went; MySQL and MariaDB
commit each change of the schema by itself. So each migration is noted before it begins, whoever migrates next finishes
it first, in its own direction, and each of its steps finds out whether it is done already.
"""

from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sa
from alembic.ddl.mysql import MySQLImpl
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext, RevisionStep
from alembic.script import ScriptDirectory

from .faults import DatabaseUnavailable, ReferenceRefused
from .locks import LockTimeout
from .schema import is_lock_conflict


class MigrationFailed(Exception):
    """A migration went wrong: which, why, and what is left of it."""

    def __init__(self, step: RevisionStep, error: Exception, dialect: str) -> None:
        self.revision: str = step.revision.revision
        self.is_upgrade: bool = step.is_upgrade
        self.cause = _describe_cause(error)
        self.stays = dialect in {"mysql", "mariadb"}
        """Whether what it did before is still there: MySQL and MariaDB take nothing back."""
        super().__init__(f"the migration {self.revision} failed: {self.cause}")


def _describe_cause(error: Exception) -> str:
    """Return what went wrong, without the rows that a driver's message about data quotes."""
    if isinstance(error, ReferenceRefused):
        return "ForeignKeyViolation: the rows that are there do not fit"
    if isinstance(error, sa.exc.DBAPIError):
        origin = error.orig
        if isinstance(error, sa.exc.IntegrityError | sa.exc.DataError):
            return f"{type(error).__name__}: the rows that are there do not fit"
        return f"{type(error).__name__}: {' '.join(str(part) for part in origin.args) if origin else error}".strip()
    return f"{type(error).__name__}: {error}"


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


def find_interrupted(connection: sa.Connection, table: str) -> InterruptedMigration | None:
    """Return the migration that ended half-way, if ``table`` notes one."""
    if not sa.inspect(connection).has_table(table):
        return None
    row = connection.exec_driver_sql(f"SELECT revision, is_upgrade FROM {table}").one_or_none()  # noqa: S608 - our own name
    return None if row is None else InterruptedMigration(row[0], is_upgrade=bool(row[1]))


def run_migrations(context: MigrationContext, script: ScriptDirectory, table: str) -> None:
    """Finish the migration that was interrupted, if one was, then run those that ``context`` was made for.

    ``table`` notes which one is under way; each owner of migrations has its own.

    Raises:
        MigrationFailed: naming the one that did, and where the database is now.
    """
    make_resumable(context)
    runner = _Runner(context, script, table)
    with Operations.context(context):
        runner.run()


def make_resumable(context: MigrationContext) -> None:
    """Have the steps that ``context`` takes on MySQL and MariaDB find out whether they are done already.

    Elsewhere nobody needs to know, because all of a migration is taken back together.
    """
    if context.dialect.name in {"mysql", "mariadb"}:
        context.impl = _ResumableImpl(
            context.dialect, context.connection, context.as_sql, None, context.output_buffer, context.opts
        )


class _Runner:
    """Runs the migrations of one owner one by one, and knows which one is under way."""

    def __init__(self, context: MigrationContext, script: ScriptDirectory, table: str) -> None:
        self._context = context
        self._script = script
        self._table = table
        self._under_way: RevisionStep | None = None

    def run(self) -> None:
        try:
            self._run()
        except (DatabaseUnavailable, LockTimeout):
            raise
        except Exception as error:
            if self._under_way is None or is_lock_conflict(error):
                raise
            raise MigrationFailed(self._under_way, error, self._context.dialect.name) from error

    def _run(self) -> None:
        context, connection = self._context, self._context.connection
        wanted = context._migrations_fn  # noqa: SLF001 - Alembic has no other way to see a migration before it begins
        assert wanted is not None  # noqa: S101 - Alembic's commands always give one
        if connection is None or connection.dialect.name == "sqlite":
            context._migrations_fn = lambda heads, ctx: self._follow(wanted(heads, ctx))  # noqa: SLF001
            context.run_migrations()
            return
        interrupted = find_interrupted(connection, self._table)
        connection.rollback()
        if interrupted is not None:
            left = interrupted
            context._migrations_fn = lambda heads, _: self._note_each(left.list_steps(self._script, heads))  # noqa: SLF001
            context.run_migrations()
        self._forget()
        context._migrations_fn = lambda heads, ctx: self._note_each(wanted(heads, ctx))  # noqa: SLF001
        context.run_migrations()

    def _follow(self, steps: Any) -> Iterator[Any]:  # noqa: ANN401 - Alembic's own
        for step in steps:
            self._under_way = step if isinstance(step, RevisionStep) else None
            yield step
            self._under_way = None

    def _note_each(self, steps: Any) -> Iterator[Any]:  # noqa: ANN401 - likewise
        for step in self._follow(steps):
            if isinstance(step, RevisionStep):
                self._note(step)
            yield step
            self._forget()

    def _note(self, step: RevisionStep) -> None:
        connection = self._connection
        connection.exec_driver_sql(
            f"CREATE TABLE IF NOT EXISTS {self._table} (revision VARCHAR(32) PRIMARY KEY, is_upgrade INTEGER NOT NULL)"
        )
        connection.exec_driver_sql(f"DELETE FROM {self._table}")  # noqa: S608 - our own name
        note = sa.text(f"INSERT INTO {self._table} VALUES (:revision, :is_upgrade)")  # noqa: S608 - likewise
        connection.execute(note, {"revision": step.revision.revision, "is_upgrade": int(step.is_upgrade)})
        connection.commit()

    def _forget(self) -> None:
        self._connection.exec_driver_sql(f"DROP TABLE IF EXISTS {self._table}")
        self._connection.commit()

    @property
    def _connection(self) -> sa.Connection:
        assert self._context.connection is not None  # noqa: S101 - offline nothing is noted
        return self._context.connection


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
            self._refuse_to_invent(table_name, column)
            super().add_column(table_name, column, **options)

    def _refuse_to_invent(self, table_name: str, column: sa.Column[Any]) -> None:
        """Refuse a column that MySQL and MariaDB would fill with '' or 0 of their own making; the others refuse it.

        Raises:
            ValueError: it may not be null, has no default, and there are rows.
        """
        has_value = column.nullable or column.server_default is not None or column.computed is not None
        rows = sa.select(sa.literal(1)).select_from(sa.table(table_name)).limit(1)
        if not has_value and self._connection.execute(rows).first() is not None:
            raise ValueError(
                f"{table_name} has rows, for which {column.name} would be invented: give it a server_default, or let it"
                " be null"
            )

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
