"""Migrations that are killed before any of their statements: the next one finishes them, whichever way it goes.

With ``pytest -rP`` it prints how many kills each database went through.
"""

from __future__ import annotations

import os
import signal
import warnings
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from flask_migrate import downgrade, upgrade

from app import create_app
from app.cli.migrations import find_revisions
from app.config import Settings
from app.database import make_engine, parse_database_url
from app.database.resumable_migrations import make_resumable
from app.extensions import db
from app.security import Client
from app.services import accounts
from gatehouse.testing.databases import TEST_ENVIRON
from gatehouse.testing.factories import PASSWORD

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask

LOOKS = ("SELECT", "SHOW", "SET", "BEGIN", "PRAGMA", "DESC")

pytestmark = [pytest.mark.every_database, pytest.mark.timeout(400)]


def kill(migrate: Callable[[], Any], *, before: int) -> bool:
    """Migrate in a process that dies before the statement of that number; say whether it died before the end."""
    db.engine.dispose()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the child uses no thread of ours
        pid = os.fork()
    if pid == 0:
        left = before

        def count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
            # What only looks is done anew anyway.
            nonlocal left
            left -= not statement.lstrip().upper().startswith(LOOKS)
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

        sa.event.listen(db.engine, "before_cursor_execute", count)
        try:
            migrate()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def describe_schema() -> dict[str, Any]:
    """Return what the database says about itself, and the rows that migrations make."""
    with db.engine.connect() as connection:
        inspector = sa.inspect(connection)
        tables = {
            name: (
                sorted(column["name"] for column in inspector.get_columns(name)),
                sorted(str(index["name"]) for index in inspector.get_indexes(name)),
                sorted(str(key["name"]) for key in inspector.get_foreign_keys(name)),
            )
            for name in sorted(inspector.get_table_names())
            if name != "alembic_version"
        }
        roles = connection.exec_driver_sql("SELECT name FROM roles ORDER BY name").all() if "roles" in tables else []
        return {"tables": tables, "roles": [row[0] for row in roles]}


@pytest.fixture
def app(make_database: Callable[..., str]) -> Flask:
    """The product on a database without a schema."""
    return create_app(Settings.from_environ(TEST_ENVIRON | {"DATABASE_URL": make_database(is_migrated=False)}))


def test_a_migration_that_was_killed_before_any_statement_is_finished_by_the_next(app: Flask) -> None:
    client = Client(ip="127.0.0.1", user_agent="")

    def go_down() -> None:
        downgrade(revision="base")

    with app.app_context():
        upgrade()
        whole = describe_schema()
        go_down()
        empty = describe_schema()
        number, was_killed = 0, True
        kills = {"up": 0, "down": 0}
        while was_killed:
            # Up, killed; up. Down, killed; down.
            was_killed = kill(upgrade, before=number)
            kills["up"] += was_killed
            upgrade()
            assert describe_schema() == whole, f"up, killed before statement {number}"
            assert find_revisions().is_current
            accounts.register(email=f"{number}@example.com", password=PASSWORD, name="", client=client)
            was_killed_down = kill(go_down, before=number)
            kills["down"] += was_killed_down
            was_killed |= was_killed_down
            if number % 3 == 1:
                # The other way: what was half taken away comes back, what was half made goes.
                upgrade()
                assert describe_schema() == whole, f"down, killed before statement {number}, then up"
                kill(go_down, before=number)
            go_down()
            assert describe_schema() == empty, f"down, killed before statement {number}"
            if number % 3 == 1:
                kill(upgrade, before=number)
                go_down()
                assert describe_schema() == empty, f"up, killed before statement {number}, then down"
            number += 1
        assert min(kills.values()) > 10
        name = db.engine.dialect.name
        print(f"{name}: went on after {kills['up']} kills on the way up, {kills['down']} down")  # noqa: T201 - see the top
        db.engine.dispose()


@pytest.mark.only_on("mariadb", reason="the others refuse it themselves")
def test_a_value_that_nobody_gave_is_not_invented_for_rows_that_there_are(make_database: Callable[..., str]) -> None:
    engine = make_engine(parse_database_url(make_database(is_migrated=False)))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        make_resumable(context)
        op = Operations(context)
        op.create_table("things", sa.Column("id", sa.Integer(), primary_key=True))
        op.add_column("things", sa.Column("before", sa.String(20), nullable=False))
        connection.exec_driver_sql("INSERT INTO things VALUES (1, '')")
        with pytest.raises(ValueError, match="give it a server_default"):
            op.add_column("things", sa.Column("color", sa.String(20), nullable=False))
        op.add_column("things", sa.Column("color", sa.String(20), nullable=False, server_default="red"))
        op.add_column("things", sa.Column("size", sa.Integer()))
        assert connection.exec_driver_sql("SELECT color, size FROM things").all() == [("red", None)]
    engine.dispose()


@pytest.mark.only_on("mariadb", reason="the others take back all of a migration that ended half-way")
def test_each_step_may_be_taken_twice(make_database: Callable[..., str]) -> None:
    engine = make_engine(parse_database_url(make_database(is_migrated=False)))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        make_resumable(context)
        op = Operations(context)

        def add_parent() -> None:
            reference = sa.ForeignKey("parents.id", name="fk_children_parent_id")
            op.add_column("children", sa.Column("parent_id", sa.Integer(), reference))

        described = sa.table("parents", sa.column("id", sa.Integer()))
        steps: tuple[Callable[[], object], ...] = (
            lambda: op.create_table("parents", sa.Column("id", sa.Integer(), primary_key=True)),
            lambda: op.create_table("children", sa.Column("name", sa.String(20))),
            lambda: op.bulk_insert(described, [{"id": 1}, {"id": 2}]),
            add_parent,
            lambda: op.create_unique_constraint("uq_children_name", "children", ["name"]),
            lambda: op.create_index("ix_children_name", "children", ["name", "parent_id"]),
            lambda: op.drop_index("ix_children_name", "children"),
            lambda: op.drop_constraint("uq_children_name", "children", type_="unique"),
            lambda: op.drop_constraint("fk_children_parent_id", "children", type_="foreignkey"),
            lambda: op.drop_column("children", "parent_id"),
            lambda: op.drop_table("children"),
        )
        for step in steps:
            for _ in range(2):
                step()
        inspector = sa.inspect(connection)
        assert inspector.get_table_names() == ["parents"]
        assert connection.scalar(sa.select(sa.func.count()).select_from(described)) == 2
    engine.dispose()
