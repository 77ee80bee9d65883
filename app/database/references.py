"""Which tables refer to another, whoever made them: the database is asked, not the models."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import sqlalchemy as sa

_Keys: TypeAlias = Mapping[str, Sequence[Any]]
"""The foreign keys of each table, as SQLAlchemy's inspector describes them."""


# SQLAlchemy's inspector would ask MySQL about each table, and past those who hear of a lost connection.
_REFERRING: Final[Mapping[str, str]] = MappingProxyType(
    {
        "sqlite": (
            "SELECT name FROM sqlite_master, pragma_foreign_key_list(sqlite_master.name) AS keys"
            " WHERE type = 'table' AND keys.\"table\" = :name"
        ),
        "postgresql": (
            "SELECT relname FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid"
            " WHERE contype = 'f' AND confrelid = CAST(:name AS regclass)"
        ),
        "mysql": (
            "SELECT table_name FROM information_schema.key_column_usage"
            " WHERE referenced_table_schema = DATABASE() AND referenced_table_name = :name"
        ),
    }
)


def list_referring_tables(connection: sa.Connection, table: str) -> list[str]:
    """Return the names of the tables with a foreign key to ``table``, sorted."""
    dialect = "mysql" if connection.dialect.name == "mariadb" else connection.dialect.name
    return sorted(set(connection.scalars(sa.text(_REFERRING[dialect]), {"name": table})))


def find_referring_table(connection: sa.Connection, table: sa.Table, condition: sa.ColumnElement[bool]) -> str | None:
    """Return the name of a table whose rows keep those of ``table`` under ``condition`` from being deleted.

    Rows that would be deleted with them are followed to what refers to those.
    """
    rows = sa.select(table).where(condition).subquery()
    return next(_walk(connection, _read_keys(connection), table.name, rows, frozenset()), None)


def _walk(
    connection: sa.Connection, keys: _Keys, table: str, rows: sa.FromClause, seen: frozenset[str]
) -> Iterator[str]:
    """Yield the tables that keep ``rows`` of ``table`` from being deleted; ``seen`` are the tables that led here."""
    for name, own in keys.items():
        for key in own:
            after = str(key.get("options", {}).get("ondelete") or "").upper()
            if key["referred_table"] != table or name in seen or after.startswith("SET "):
                continue
            referring = _make_table(keys, name, key["constrained_columns"])
            pairs = zip(key["constrained_columns"], key["referred_columns"], strict=True)
            found = sa.select(referring).join(rows, sa.and_(*(referring.c[ours] == rows.c[its] for ours, its in pairs)))
            if connection.execute(found.limit(1)).first() is None:
                continue
            if after == "CASCADE":
                yield from _walk(connection, keys, name, found.subquery(), seen | {name})
            else:
                yield name


def _make_table(keys: _Keys, name: str, columns: Sequence[str]) -> sa.TableClause:
    """Return the table with ``columns`` and those that others refer to."""
    referred = (key["referred_columns"] for own in keys.values() for key in own if key["referred_table"] == name)
    return sa.table(name, *map(sa.column, {*columns, *(column for each in referred for column in each)}))


def _read_keys(connection: sa.Connection) -> _Keys:
    return {name: keys for (_schema, name), keys in sa.inspect(connection).get_multi_foreign_keys().items()}
