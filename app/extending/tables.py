"""Whose a table is: an extension's begin with its name, and its migrations have a version table of their own."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

VERSION_TABLE: Final = "alembic_version"
"""Which migration the product's tables are at; an extension's name is added for its own."""
PROGRESS_TABLE: Final = "alembic_progress"
"""Which migration is under way; likewise."""
NAME_MAX_BYTES: Final = 63
"""What PostgreSQL leaves of a name; MySQL takes 64 characters."""


def name_version_table(owner: str | None) -> str:
    """Return the name of the version table of an extension, or of the product."""
    return VERSION_TABLE if owner is None else f"{VERSION_TABLE}_{owner}"


def name_progress_table(version_table: str) -> str:
    """Return the name of the table that notes a migration under way, beside the version table of that name."""
    return PROGRESS_TABLE + version_table.removeprefix(VERSION_TABLE)


def is_bookkeeping(table: str) -> bool:
    """Say whether the table belongs to the migrations themselves."""
    return any(table == kept or table.startswith(f"{kept}_") for kept in (VERSION_TABLE, PROGRESS_TABLE))


def find_owner(table: str, names: Iterable[str]) -> str | None:
    """Return which of the extensions of these names the table belongs to, or None; of several, the longest name."""
    owners = (name for name in names if table == name or table.startswith(f"{name}_"))
    return max(owners, key=len, default=None)


def list_migrated(tables: Collection[str]) -> list[str]:
    """Return the names of all extensions that have had tables in this database, listed or not."""
    prefix = f"{VERSION_TABLE}_"
    return sorted(table.removeprefix(prefix) for table in tables if table.startswith(prefix))
