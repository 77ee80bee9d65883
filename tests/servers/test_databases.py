"""The migrations on each database: there and back, and what they make is what the models say; the tests rely on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from flask_migrate import downgrade, upgrade

from app import create_app
from app.cli.autogenerate import Autogenerate
from app.cli.migrations import Lineage
from app.config import Settings
from app.extensions import db, transaction
from app.models import Base, Role, list_product_tables
from gatehouse.testing.databases import TEST_ENVIRON
from gatehouse.testing.factories import Factory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flask import Flask

    from gatehouse.testing.databases import Databases

pytestmark = pytest.mark.every_database


@pytest.fixture
def app(make_database: Callable[..., str]) -> Iterator[Flask]:
    app = create_app(Settings.from_environ(TEST_ENVIRON | {"DATABASE_URL": make_database(is_migrated=False)}))
    with app.app_context():
        upgrade()
        engine = db.engine
    yield app
    engine.dispose()


def find_drift() -> list[Any]:
    with db.engine.connect() as connection:
        options = {"compare_type": True, "include_object": Autogenerate(Lineage(), connection).is_owned}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata))


def test_the_migrations_go_up_and_down_and_make_what_the_models_say(app: Flask) -> None:
    with app.app_context():
        assert find_drift() == []
        downgrade(revision="base")
        upgrade()
        assert find_drift() == []


def take_stock(url: str, change: Callable[[Flask], object] = lambda _app: None) -> dict[str, list[Any]]:
    """Return every row of every table before ``change``."""
    app = create_app(Settings.from_environ(TEST_ENVIRON | {"DATABASE_URL": url}))
    with app.app_context():
        tables = [Base.metadata.tables[name] for name in list_product_tables()]
        rows = {table.name: sorted(map(repr, db.session.execute(sa.select(table)))) for table in tables}
        change(app)
        db.session.close()
        db.engine.dispose()
    return rows


def test_a_database_that_a_test_has_used_is_as_new_for_the_next(databases: Databases) -> None:
    def use(app: Flask) -> None:
        factory = Factory(app)
        factory.sign_in(factory.user(roles=[factory.role("users:read").name]))
        with transaction() as session:
            session.execute(sa.update(Role).values(description="changed"))
            session.execute(sa.delete(Role).where(Role.name == "user"))

    url = databases.take()
    before = take_stock(url, use)
    assert {name for name, rows in before.items() if rows} == {"roles"}
    assert take_stock(url) != before
    databases.put_back(url)
    again = databases.take()
    assert take_stock(again) == before
    databases.put_back(again)
