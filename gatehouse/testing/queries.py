"""The statements that a database is sent."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest import mock

import sqlalchemy as sa

from app.database import Query


@contextmanager
def count_queries(engine: sa.Engine) -> Iterator[list[str]]:
    """Yield the list to which goes each statement that this thread sends through ``engine`` inside the block."""
    sent: list[str] = []
    own_thread = threading.get_ident()

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if threading.get_ident() == own_thread and not statement.startswith(("PRAGMA", "BEGIN")):
            sent.append(statement)

    fetch = Query.fetch

    def note_query(query: Query[Any], engine: sa.Engine, parameters: Mapping[str, Any]) -> list[Any]:
        note(None, None, str(query.statement))
        return fetch(query, engine, parameters)

    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        # They go past SQLAlchemy's events.
        with mock.patch.object(Query, "fetch", note_query):
            yield sent
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)
