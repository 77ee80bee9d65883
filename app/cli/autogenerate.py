"""What ``db migrate`` writes: what one owner has changed, in types that stay valid, one change a file."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import sqlalchemy as sa
from alembic.operations import ops
from alembic.util import rev_id as make_rev_id
from sqlalchemy.dialects import mysql, postgresql, sqlite

from app.extending.tables import NAME_MAX_BYTES, find_owner, is_bookkeeping
from app.models import Base, list_product_tables
from app.search import is_search_object

from .migrations import Lineage, list_extension_names
from .terminal import Failure, note

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext
    from alembic.runtime.migration import MigrationContext

_DIALECTS: Final[tuple[tuple[tuple[str, ...], sa.Dialect, Any], ...]] = (
    (("postgresql",), postgresql.dialect(), postgresql),  # type: ignore[no-untyped-call] # SQLAlchemy types only the others
    (("mysql", "mariadb"), mysql.dialect(), mysql),
)


class Autogenerate:
    """The rules of what is written for one lineage."""

    def __init__(self, lineage: Lineage, connection: sa.Connection) -> None:
        self._owner = lineage.owner
        self._title = lineage.title
        self._product = list_product_tables()
        self._names = list_extension_names(connection)

    def is_owned(self, thing: Any, name: str | None, kind: str, _is_reflected: bool, _other: Any) -> bool:  # noqa: ANN401, FBT001 - Alembic's signature
        """Say whether a table, or what belongs to one, is the owner's; the search's own are nobody's."""
        if is_search_object(name, Base.metadata):
            return False
        table = str(name) if kind == "table" else thing.table.name
        if is_bookkeeping(table):
            return False
        if table in self._product:
            return self._owner is None
        if find_owner(table, self._names) is not None:
            return find_owner(table, self._names) == self._owner
        # Of what no listed extension owns, the database's belongs to the product's former models.
        return self._owner is None and table not in Base.metadata.tables

    def process(self, context: MigrationContext, _revision: object, directives: list[Any]) -> None:
        """Have each change written to a file of its own, and nothing where nothing has changed.

        MySQL and MariaDB commit each change of the schema by itself: a file with one can be done, or not, but not half.

        Raises:
            Failure: what would be written cannot be applied.
        """
        if not directives:
            return
        (script,) = directives
        faults = [fault for op in _walk(script.upgrade_ops) for fault in _list_faults(op, context.connection)]
        if faults:
            raise Failure(" ".join(faults))
        if not getattr(context.config and context.config.cmd_opts, "autogenerate", False):
            return  # ``db check`` only looks.
        groups = _group(script.upgrade_ops.ops)
        directives[:] = [_write_script(script, group, number, len(groups)) for number, group in enumerate(groups)]
        for before, after in itertools.pairwise(directives):
            after.head = before.rev_id
        if not groups:
            note(f"Nothing of {self._title} has changed: no file was written.")

    def render(self, kind: str, thing: Any, context: AutogenContext) -> str | Literal[False]:  # noqa: ANN401 - Alembic's signature
        """Return a type of our own as the plain types that it is on each database: a migration outlives classes."""
        if kind != "type" or not isinstance(thing, sa.types.TypeDecorator):
            return False
        return render_type(thing, context.imports)


def render_type(own: sa.types.TypeDecorator[Any], imports: set[str]) -> str:
    """Return a type of our own as the plain types that it is on each database; add what that needs to ``imports``."""
    rendered = plain = _render_plain(own, sqlite.dialect(), sa)
    for names, dialect, module in _DIALECTS:
        special = _render_plain(own, dialect, module)
        if special != plain:
            if not special.startswith("sa."):
                imports.add(f"from sqlalchemy.dialects import {names[0]}")
            rendered += f".with_variant({special}, {', '.join(map(repr, names))})"
    return rendered


def _render_plain(own: sa.types.TypeDecorator[Any], dialect: sa.Dialect, module: Any) -> str:  # noqa: ANN401 - a module
    """Return what ``own`` is on ``dialect``, as a public class of ``module`` or of SQLAlchemy itself."""
    plain: sa.types.TypeEngine[Any] = own
    while isinstance(plain, sa.types.TypeDecorator):
        plain = plain.load_dialect_impl(dialect)
    name, place = next(
        (each.__name__, place)
        for each in type(plain).__mro__
        for place in (module, sa)
        if getattr(place, each.__name__, None) is each
    )
    prefix = "sa" if place is sa else place.__name__.rpartition(".")[2]
    return f"{prefix}.{name}{repr(plain).removeprefix(type(plain).__name__)}"


def _walk(changes: ops.OpContainer) -> Iterator[Any]:
    """Yield each change, those within a table too."""
    for op in changes.ops:
        if isinstance(op, ops.OpContainer):
            yield from _walk(op)
        else:
            yield op


def _group(changes: Sequence[Any]) -> list[list[Any]]:
    """Return the changes one by one; a table that comes or goes takes its indexes along."""
    groups: dict[str, list[Any]] = {}
    whole = {op.table_name for op in changes if isinstance(op, ops.CreateTableOp | ops.DropTableOp)}
    for number, op in enumerate(changes):
        table = getattr(op, "table_name", "")
        if table in whole:
            groups.setdefault(table, []).append(op)
        elif isinstance(op, ops.ModifyTableOps):
            for part, child in enumerate(op.ops):
                groups[f"{number}.{part}"] = [ops.ModifyTableOps(table, [child], schema=op.schema)]
        else:
            groups[str(number)] = [op]
    return list(groups.values())


def _write_script(script: ops.MigrationScript, group: list[Any], number: int, count: int) -> ops.MigrationScript:
    """Return the one of ``count`` migrations that makes the changes of ``group``; each follows the one before."""
    up = ops.UpgradeOps(group, upgrade_token=script.upgrade_ops.upgrade_token)  # type: ignore[union-attr] # it has one
    down = up.reverse_into(ops.DowngradeOps([], downgrade_token=script.downgrade_ops.downgrade_token))  # type: ignore[union-attr]
    for changes in (up, down):
        dropped = {op.table_name for op in changes.ops if isinstance(op, ops.DropTableOp)}
        # MariaDB keeps the index of a foreign key for as long as there is the key; it goes with the table.
        changes.ops[:] = [
            op
            for op in changes.ops
            if isinstance(op, ops.DropTableOp) or getattr(op, "table_name", None) not in dropped
        ]
        for op in changes.ops:
            if isinstance(op, ops.CreateTableOp):
                op.info = {}  # what a class says of itself to others is nothing to the database
    message = script.message if count == 1 else f"{script.message or ''} {number + 1} of {count}".strip()
    return ops.MigrationScript(
        rev_id=_count_on(str(script.rev_id), number),
        message=message,
        upgrade_ops=up,
        downgrade_ops=down,
        head=script.head,
        splice=script.splice,
        branch_label=script.branch_label if number == 0 else None,
        version_path=script.version_path,
        depends_on=script.depends_on if number == 0 else None,
    )


def _count_on(rev_id: str, number: int) -> str:
    if number == 0:
        return rev_id
    is_counted = rev_id.isdecimal() and len(rev_id) < len(make_rev_id())
    return f"{int(rev_id) + number:0{len(rev_id)}}" if is_counted else str(make_rev_id())


def _list_faults(op: Any, connection: sa.Connection | None) -> Iterator[str]:  # noqa: ANN401 - any of Alembic's
    for name in _list_names(op):
        if len(name.encode()) > NAME_MAX_BYTES:
            yield (
                f"The name {name} is longer than the {NAME_MAX_BYTES} bytes that every database takes: give the table,"
                " its column or the constraint a shorter one."
            )
    if connection is None:
        return
    table = sa.table(getattr(op, "table_name", ""), sa.column(str(getattr(op, "column_name", ""))))
    if isinstance(op, ops.AddColumnOp):
        column = op.column
        is_filled = column.server_default is not None or column.computed is not None or column.identity is not None
        if not column.nullable and not is_filled and _has_rows(connection, sa.select(sa.literal(1)).select_from(table)):
            yield (
                f"{op.table_name}.{column.name} may not be NULL and has no server default, but {op.table_name} has"
                " rows: give it server_default=…, or let it be NULL, fill it, and refuse NULL in a later migration."
            )
    elif isinstance(op, ops.AlterColumnOp) and op.modify_nullable is False:
        nulls = sa.select(sa.literal(1)).select_from(table).where(table.c[op.column_name].is_(None))
        if _has_rows(connection, nulls):
            yield f"{op.table_name}.{op.column_name} is to refuse NULL, but rows have it: fill them first."


def _list_names(op: Any) -> list[str]:  # noqa: ANN401 - likewise
    if isinstance(op, ops.CreateTableOp):
        return [op.table_name, *(str(each.name) for each in op.to_table().constraints if each.name)]
    if isinstance(op, ops.CreateIndexOp | ops.AddConstraintOp):
        return [str(name) for name in (getattr(op, "index_name", None), getattr(op, "constraint_name", None)) if name]
    return []


def _has_rows(connection: sa.Connection, query: sa.Select[Any]) -> bool:
    return connection.execute(query.limit(1)).first() is not None
