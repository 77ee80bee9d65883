"""What ``db migrate`` writes: what one owner has changed, in types that stay valid, one change a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import sqlalchemy as sa
from alembic.operations import ops
from sqlalchemy.dialects import mysql, postgresql, sqlite

from app.extending.tables import find_owner, is_bookkeeping
from app.models import Base, list_product_tables
from app.search import is_search_object

from .migrations import Lineage, list_extension_names

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

    def process(self, _context: MigrationContext, _revision: object, directives: list[Any]) -> None:
        """Write nothing where nothing has changed, and drop no index of a table that is dropped itself."""
        if directives and directives[0].upgrade_ops.is_empty():
            directives.clear()
        for changes in (each for script in directives for each in (script.upgrade_ops, script.downgrade_ops)):
            dropped = {change.table_name for change in changes.ops if isinstance(change, ops.DropTableOp)}
            # MariaDB keeps the index of a foreign key for as long as there is the key.
            changes.ops[:] = [
                change
                for change in changes.ops
                if not (isinstance(change, ops.ModifyTableOps) and change.table_name in dropped)
            ]

    def render(self, kind: str, thing: Any, context: AutogenContext) -> str | Literal[False]:  # noqa: ANN401 - Alembic's signature
        """Return a type of our own as the plain types that it is on each database: a migration outlives classes."""
        if kind != "type" or not isinstance(thing, sa.types.TypeDecorator):
            return False
        rendered = plain = _render_plain(thing, sqlite.dialect(), sa)
        for names, dialect, module in _DIALECTS:
            special = _render_plain(thing, dialect, module)
            if special != plain:
                if not special.startswith("sa."):
                    context.imports.add(f"from sqlalchemy.dialects import {names[0]}")
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
