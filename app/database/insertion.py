"""Rows that several may insert at once."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite


def insert_unless_there(connection: sa.Connection, model: type[Any], values: Mapping[str, Any]) -> bool:
    """Insert a row of ``model``, unless there is one with the same key; say whether it was inserted.

    Whoever inserts it at the same time is waited for. The transaction goes on either way.
    """
    name = connection.dialect.name
    if name in {"mysql", "mariadb"}:
        return connection.execute(sa.insert(model).prefix_with("IGNORE"), values).rowcount == 1
    insert = postgresql.insert if name == "postgresql" else sqlite.insert
    return connection.execute(insert(model).on_conflict_do_nothing(), values).rowcount == 1
