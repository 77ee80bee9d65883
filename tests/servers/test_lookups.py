"""Look-ups: the row and the faults that SQLAlchemy's own way would bring, and prepared statements that may be lost."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING
from unittest.mock import Mock

import psycopg2
import pytest
import sqlalchemy as sa

from app.database import READS_ONCE, ConnectionLost, DatabaseUnavailable, Lookup
from app.extensions import db
from gatehouse.testing.factories import Factory

from .conftest import POSTGRES
from .harness.proxy import Fault
from .work import end_connection, get_connection_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flask import Flask

    from .conftest import Server
    from .harness.proxy import Proxy

NOTES = sa.Table("notes", sa.MetaData(), sa.Column("name", sa.String(20)), sa.Column("at", sa.Integer))
# What each driver calls between sending a statement and reading its answer.
BEFORE_ANSWER = {"postgresql": "app.database.wait_callback.Deadline", "mysql": "pymysql.connections.MySQLResult"}
ON_POSTGRES = pytest.mark.parametrize("server", [POSTGRES], indirect=True)


def make_lookup() -> Lookup:
    """Return a look-up that has met no engine yet."""
    return Lookup(sa.select(NOTES.c.name, NOTES.c.at), by=NOTES.c.name)


@pytest.fixture(autouse=True)
def notes(engine: sa.Engine) -> Iterator[None]:
    """Two notes."""
    with engine.begin() as connection:
        NOTES.create(connection)
        connection.execute(sa.insert(NOTES), [{"name": "first", "at": 1}, {"name": "se'cond", "at": 2}])
    yield
    engine.dispose()
    with engine.begin() as connection:
        NOTES.drop(connection)


def execute(engine: sa.Engine, *statements: str) -> None:
    """Run ``statements`` on the connection that the next look-up will be lent."""
    with engine.connect().execution_options(**{READS_ONCE: True}) as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def list_prepared(engine: sa.Engine) -> list[str]:
    """Return the names that are prepared on the connection that the next look-up will be lent."""
    with engine.connect().execution_options(**{READS_ONCE: True}) as connection:
        return list(connection.exec_driver_sql("SELECT name FROM pg_prepared_statements").scalars())


def test_a_row_is_found_by_its_text_alone(engine: sa.Engine) -> None:
    lookup = make_lookup()
    for _ in range(2):
        assert lookup.find(engine, "first") == ("first", 1)
        assert lookup.find(engine, "se'cond").at == 2
        assert lookup.find(engine, "third") is None
        assert lookup.find(engine, "' OR ''='") is None


def test_a_lookup_that_is_never_answered_ends_at_its_deadline_and_throws_the_pool_away(
    proxied_engine: sa.Engine, proxy: Proxy
) -> None:
    lookup = make_lookup()
    assert lookup.find(proxied_engine, "first") == ("first", 1)
    proxy.fault = Fault(is_silent=True)
    begun_at = time.monotonic()
    with pytest.raises(ConnectionLost):
        lookup.find(proxied_engine, "first")
    assert time.monotonic() - begun_at < 2
    with pytest.raises(DatabaseUnavailable):
        lookup.find(proxied_engine, "first")
    proxy.fault = Fault()
    assert lookup.find(proxied_engine, "first") == ("first", 1)


def test_a_lookup_on_a_connection_that_has_ended_is_told_as_lost_even_where_it_committed_before(
    engine: sa.Engine, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookup = make_lookup()
    with engine.connect().execution_options(is_write=True) as connection:
        ended = get_connection_id(connection)
        connection.commit()
    # Nobody looks whether the connection at rest is still there.
    monkeypatch.setattr("app.database.liveness._is_readable", lambda _connection: False)
    server.administrate(end_connection(engine, ended))
    with pytest.raises(ConnectionLost):
        lookup.find(engine, "first")
    assert lookup.find(engine, "first") == ("first", 1)
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined] # a QueuePool


@pytest.mark.parametrize("interruption", [MemoryError, KeyboardInterrupt])
def test_what_interrupts_a_statement_is_told_as_it_is_and_leaves_no_answer_to_the_next(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch, interruption: type[BaseException]
) -> None:
    lookup = make_lookup()

    def select_first() -> None:
        with engine.connect().execution_options(**{READS_ONCE: True}) as connection:
            connection.execute(lookup.statement, {"value": "first"})

    # The answer may arrive after the look at the connection at rest.
    monkeypatch.setattr("app.database.liveness._is_readable", lambda _connection: False)
    for ask in (lambda: lookup.find(engine, "first"), select_first):
        assert lookup.find(engine, "first") == ("first", 1)
        with monkeypatch.context() as patch:
            patch.setattr(BEFORE_ANSWER[engine.dialect.name], Mock(side_effect=interruption))
            with pytest.raises(interruption):
                ask()
        assert lookup.find(engine, "se'cond") == ("se'cond", 2)
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined] # a QueuePool


def test_a_lookup_that_is_at_fault_itself_keeps_its_connection(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        lent = get_connection_id(connection)
    missing = sa.Table("missing", sa.MetaData(), sa.Column("name", sa.String(20)))
    with pytest.raises(sa.exc.ProgrammingError):
        Lookup(sa.select(missing.c.name), by=missing.c.name).find(engine, "first")
    with engine.connect() as connection:
        assert get_connection_id(connection) == lent


def test_a_lookup_without_a_server_is_told_as_every_other(connect: Callable[[str], sa.Engine]) -> None:
    engine = connect("postgresql://gatehouse:secret@127.0.0.1:1/accounts?connect_timeout=0.5")
    with pytest.raises(ConnectionLost):
        make_lookup().find(engine, "first")


@ON_POSTGRES
def test_postgresql_plans_a_lookup_once_for_each_connection(proxied_engine: sa.Engine, proxy: Proxy) -> None:
    lookup = make_lookup()
    for _ in range(3):
        proxy.sent.clear()
        assert lookup.find(proxied_engine, "first") == ("first", 1)
    assert b"EXECUTE gatehouse_" in proxy.sent
    assert b"SELECT" not in proxy.sent
    assert len(list_prepared(proxied_engine)) == 1


@ON_POSTGRES
def test_a_transaction_after_a_prepared_lookup_is_one(engine: sa.Engine) -> None:
    lookup = make_lookup()
    assert lookup.find(engine, "first") == ("first", 1)
    with engine.connect() as connection:
        connection.execute(sa.delete(NOTES))
        connection.rollback()
    assert lookup.find(engine, "first") == ("first", 1)


@ON_POSTGRES
def test_statements_that_somebody_forgets_are_found_in_full_and_prepared_no_more(
    engine: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    lookup = make_lookup()
    assert lookup.find(engine, "first") == ("first", 1)
    execute(engine, "DEALLOCATE ALL")
    with caplog.at_level(logging.WARNING, "app.database"):
        assert lookup.find(engine, "first") == ("first", 1)
        engine.dispose()
        assert lookup.find(engine, "se'cond") == ("se'cond", 2)
    assert list_prepared(engine) == []
    assert [record.getMessage() for record in caplog.records if "prepared_statements=off" in record.getMessage()]
    assert len(caplog.records) == 1


@ON_POSTGRES
def test_a_migration_that_changes_a_column_leaves_the_connection_without_its_plan_and_others_with_theirs(
    engine: sa.Engine,
) -> None:
    lookup = make_lookup()
    assert lookup.find(engine, "first") == ("first", 1)
    execute(engine, "ALTER TABLE notes ALTER COLUMN name TYPE varchar(40)")
    for _ in range(2):
        assert lookup.find(engine, "first") == ("first", 1)
    engine.dispose()
    assert lookup.find(engine, "first") == ("first", 1)
    assert len(list_prepared(engine)) == 1


@ON_POSTGRES
def test_a_statement_of_the_same_name_that_another_has_prepared_is_not_used(engine: sa.Engine) -> None:
    lookup = make_lookup()
    assert lookup.find(engine, "first") == ("first", 1)
    (name,) = list_prepared(engine)
    engine.dispose()
    execute(engine, f"PREPARE {name} AS SELECT 'other', 0 WHERE $1 = 'first'")
    for _ in range(2):
        assert lookup.find(engine, "first") == ("first", 1)


@ON_POSTGRES
def test_nothing_is_prepared_where_that_is_switched_off(server: Server, connect: Callable[[str], sa.Engine]) -> None:
    engine = connect(server.make_url("prepared_statements=off"))
    assert make_lookup().find(engine, "first") == ("first", 1)
    assert list_prepared(engine) == []


@ON_POSTGRES
def test_an_error_of_the_statement_itself_is_not_answered_by_running_it_again(
    proxied_engine: sa.Engine, proxy: Proxy
) -> None:
    lookup = make_lookup()
    assert lookup.find(proxied_engine, "first") == ("first", 1)
    execute(proxied_engine, "ALTER TABLE notes RENAME COLUMN at TO since")
    proxy.sent.clear()
    with pytest.raises(sa.exc.ProgrammingError) as caught:
        lookup.find(proxied_engine, "first")
    assert isinstance(caught.value.orig, psycopg2.errors.UndefinedColumn)
    assert b"SELECT" not in proxy.sent
    execute(proxied_engine, "ALTER TABLE notes RENAME COLUMN since TO at")


def test_a_signed_in_request_outlives_the_loss_of_what_was_prepared(proxied_app: tuple[Flask, Proxy]) -> None:
    app, _ = proxied_app
    browser = Factory(app).sign_in(Factory(app).user())
    assert browser.get("/api/v1/users/me").status_code == 200
    with app.app_context():
        if db.engine.dialect.name == "postgresql":
            execute(db.engine, "DEALLOCATE ALL")
    assert browser.get("/api/v1/users/me").status_code == 200
