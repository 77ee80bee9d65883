"""Rules about an extension's migrations."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from flask import Flask

from app.cli.autogenerate import Autogenerate
from app.cli.migrations import Lineage, explain_failures, list_tables, make_lineage, upgrade_database
from app.cli.terminal import Failure
from app.extending import Extension
from app.extensions import db
from app.models import Base
from gatehouse.testing.rows import Fault

# What is done to a table that the same migration makes is part of making it.
_MAKING: Final = frozenset(
    {"create_index", "create_unique_constraint", "create_foreign_key", "create_check_constraint"}
)
_CHANGING: Final = _MAKING | {
    "add_column", "alter_column", "create_primary_key", "create_table", "create_table_comment", "drop_column",
    "drop_constraint", "drop_index", "drop_table", "drop_table_comment", "rename_table",
}  # fmt: skip


def find_missing_migrations(extension: Extension) -> Iterator[str]:
    """Whoever has models has migrations."""
    if extension.models and extension.migrations is None:
        yield (
            'it has models and no migrations: give migrations=Path(__file__).parent / "migrations", then write one with'
            f" flask --app run db migrate --extension {extension.name}"
        )


def find_crowded_migrations(extension: Extension) -> Iterator[str]:
    """Each migration makes one change: MariaDB keeps what was done before the one that fails."""
    for path, changes in _list_migrations(extension):
        made = {change.table for change in changes if change.name == "create_table"}
        own = [change for change in changes if not (change.name in _MAKING and change.table in made)]
        if len(own) > 1:
            yield f"the migration {path.name} makes {len(own)} changes: write one a file"


def find_columns_without_default(extension: Extension) -> Iterator[str]:
    """A column that is added and may not be null has a default: the table may have rows."""
    for path, changes in _list_migrations(extension):
        for change in changes:
            for column in change.call.args if change.name == "add_column" else ():
                said = {each.arg: each.value for each in column.keywords} if isinstance(column, ast.Call) else {}
                nullable = said.get("nullable")
                if isinstance(nullable, ast.Constant) and nullable.value is False and "server_default" not in said:
                    yield (
                        f"the migration {path.name} adds a column to {change.table} that may not be null, and the table"
                        " may have rows: give it a server_default, or let it be null"
                    )


def find_wrong_migrations(app: Flask, extension: Extension) -> Iterator[str]:
    """On an empty database, migrations make what the models describe, go down without a trace, and up again.

    Raises:
        Fault: they fail.
    """
    lineage = make_lineage(extension)
    try:
        with app.app_context():
            upgrade_database()
            yield from _find_drift(lineage)
            others = _list_all_tables() - _list_own_tables(extension)
            with explain_failures(lineage):
                command.downgrade(lineage.make_config(), "base")
            if left := _list_own_tables(extension):
                yield f"its migrations leave {', '.join(sorted(left))} when they go down: drop them in downgrade()"
            if lost := others - _list_all_tables():
                yield f"its migrations drop {', '.join(sorted(lost))}, which are not its own, when they go down"
            if left or lost:
                return
            upgrade_database()
            yield from _find_drift(lineage)
    except Failure as failure:
        raise Fault(failure.message) from failure


def _find_drift(lineage: Lineage) -> Iterator[str]:
    with db.engine.connect() as connection:
        opts = {"compare_type": True, "include_object": Autogenerate(lineage, connection).is_owned}
        context = MigrationContext.configure(connection, opts=opts)
        for difference in compare_metadata(context, Base.metadata):
            yield (
                f"its migrations do not make what its models describe ({_describe(difference)}): write what is missing"
                f" with flask --app run db migrate --extension {lineage.owner}"
            )


def _describe(difference: Any) -> str:
    """Return in a few words what Alembic found: a tuple, or a list of those about one column."""
    parts = difference[0] if isinstance(difference, list) else difference
    names = [str(getattr(part, "name", part)) for part in parts[1:] if isinstance(part, str | sa.schema.SchemaItem)]
    return " ".join([parts[0].replace("_", " "), ".".join(names)])


def _list_all_tables() -> set[str]:
    return set(sa.inspect(db.engine).get_table_names())


def _list_own_tables(extension: Extension) -> set[str]:
    with db.engine.connect() as connection:
        return set(list_tables(connection, extension.name))


class _Change(NamedTuple):
    """A call of a migration that changes a table."""

    name: str
    table: str | None
    call: ast.Call


def _list_migrations(extension: Extension) -> Iterator[tuple[Path, list[_Change]]]:
    for path in sorted(extension.migrations.glob("*.py")) if extension.migrations else ():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name == "upgrade":
                yield path, list(_list_changes(node))


def _list_changes(node: ast.AST, table: str | None = None) -> Iterator[_Change]:
    """Yield what is called of ``op``, or of what ``op.batch_alter_table`` gives for a ``table``."""
    if isinstance(node, ast.With):
        table = next((_get_text(item.context_expr, 0) for item in node.items), None)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _CHANGING:
        name = node.func.attr
        # Of op, what is made on a table has a name first.
        yield _Change(name, table or _get_text(node, 1 if name in _MAKING else 0), node)
    for child in ast.iter_child_nodes(node):
        yield from _list_changes(child, table)


def _get_text(call: ast.expr, place: int) -> str | None:
    """Return an argument of a call, where it is a text."""
    argument = call.args[place] if isinstance(call, ast.Call) and len(call.args) > place else None
    return argument.value if isinstance(argument, ast.Constant) and isinstance(argument.value, str) else None
