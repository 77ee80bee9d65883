"""Pages of a long list: none is the slower the further down it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from flask_migrate import upgrade

from app import create_app
from app.config import Settings
from app.database import Query
from app.extensions import db
from app.services.users import SORTS, list_users
from gatehouse.testing.databases import TEST_ENVIRON
from gatehouse.testing.servers.postgres import Postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask import Flask

# Ten of each name, so that the key decides too.
FILL = """
INSERT INTO users (id, email, name, is_active, created_at, updated_at)
SELECT gen_random_uuid(), 'user' || number || '@example.com', 'name ' || number / 10, true,
       '2026-01-01'::timestamptz + number / 10 * interval '1 minute', now()
FROM generate_series(1, 5000) AS number
"""
PAGES = 20


@pytest.fixture(scope="module")
def app() -> Iterator[Flask]:
    with Postgres() as server:
        app = create_app(Settings.from_environ(TEST_ENVIRON | {"DATABASE_URL": server.make_url()}))
        with app.app_context():
            upgrade()
            server.administrate(FILL, "ANALYZE users")
            engine = db.engine
        yield app
        engine.dispose()


def count_removed(plan: dict[str, Any]) -> int:
    """Return how many rows were read in vain."""
    return int(plan.get("Rows Removed by Filter", 0)) + sum(count_removed(part) for part in plan.get("Plans", []))


@pytest.mark.server("postgresql")
@pytest.mark.parametrize("sort", SORTS)
def test_a_page_further_down_reads_no_row_of_the_pages_before(
    app: Flask, sort: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Query[Any], dict[str, Any]]] = []

    def note(query: Query[Any], parameters: dict[str, Any]) -> list[Any]:
        asked.append((query, parameters))
        return query.fetch(db.engine, parameters)

    monkeypatch.setattr(db, "fetch", note)
    with app.app_context():
        cursor = None
        for _ in range(PAGES + 1):
            cursor = list_users(limit=50, sort=sort, cursor=cursor).next_cursor
        query, parameters = asked[-1]
        with db.engine.connect() as connection:
            statement = query.statement.params(parameters).compile(connection, compile_kwargs={"literal_binds": True})
            rows = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}")
            plan = rows.scalar_one()[0]["Plan"]
    # Of the row that the page before ended with, those of the same name or instant.
    assert count_removed(plan) <= 10
