"""The migrations on each database: rows survive them, processes at once make one of them, and nobody waits long."""

from __future__ import annotations

import contextlib
import datetime
import multiprocessing
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory
from flask_migrate import downgrade, upgrade

from app import create_app
from app.config import ROOT, Settings
from app.database.locks import LockTimeout
from app.database.resumable_migrations import MigrationFailed
from app.database.schema import find_orphans, keeping_referring_rows
from app.extensions import db
from app.models import Base
from app.search import SearchIndex, make_search_text
from gatehouse.testing.databases import TEST_ENVIRON
from gatehouse.testing.factories import Factory
from gatehouse.testing.servers.mariadb import MariaDb
from gatehouse.testing.servers.postgres import Postgres

from .conftest import MARIADB, POSTGRES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flask import Flask

    from gatehouse.testing.databases import Databases

pytestmark = pytest.mark.every_database

HEAD = ScriptDirectory(str(ROOT / "app" / "migrations")).get_current_head()
TABLES = ("users", "roles", "user_roles", "role_permissions", "sessions", "audit_entries")
LATER = ("search_text", "language", "is_password_change_required", "deletion_due_at")
NAMES = ("", "Zoë Ångström", "李小龍", "O'Brien; DROP TABLE users --", "👩🏽‍💻", "x" * 200)
PROCESSES = 3
ROUNDS = 2
# One that waited for the lock for as long as a statement may would let all others wait for 2.7 s. How long they do wait
# is measured by bench/migrations.py.
LONGEST_WRITE_SECONDS = 2.0
HELD_SECONDS = 4.0
# How long a write takes is measured here: the product's own deadlines would only end what a busy machine holds up.
PATIENT = "connect_timeout=20&statement_timeout=20"


@pytest.fixture(scope="module")
def url(databases: Databases) -> str:
    return databases.take(is_migrated=False)


@pytest.fixture
def app(url: str) -> Iterator[Flask]:
    """The product on a database without a schema."""
    app = make_app(url)
    with app.app_context():
        upgrade()
        downgrade(revision="base")
        yield app
        upgrade()
        downgrade(revision="base")
        db.engine.dispose()


def make_app(url: str) -> Flask:
    return create_app(Settings.from_environ(TEST_ENVIRON | {"DATABASE_URL": url}))


@contextlib.contextmanager
def writing() -> Iterator[sa.Connection]:
    with db.engine.connect().execution_options(is_write=True) as connection:
        yield connection
        connection.commit()


def store_rows(count: int = 0) -> None:
    """Put rows into every table of revision 0001, as the product of that time did."""
    tables = sa.MetaData()
    for name in TABLES:
        columns = [column for column in Base.metadata.tables[name].columns if column.name not in LATER]
        sa.Table(name, tables, *(sa.Column(column.name, column.type) for column in columns))
    instant = datetime.datetime(2024, 2, 29, 23, 59, 59, 123456, tzinfo=datetime.UTC)
    users = [
        {
            "id": uuid.uuid4(), "email": f"old{number}@example.com", "name": name, "password_hash": None,
            "is_active": number % 2 == 0, "email_verified_at": instant if number % 3 else None, "created_at": instant,
            "updated_at": instant, "last_login_at": None,
        }
        for number, name in enumerate([*NAMES, *(f"User {number}" for number in range(count))])
    ]  # fmt: skip
    with writing() as connection:
        role_id = connection.scalars(sa.select(tables.tables["roles"].c.id)).first()
        stored: dict[str, list[dict[str, Any]]] = {
            "users": users,
            "user_roles": [{"user_id": user["id"], "role_id": role_id} for user in users],
            "role_permissions": [{"role_id": role_id, "permission": "users:read"}],
            "sessions": [
                {
                    "id": uuid.uuid4(), "user_id": user["id"], "token_hash": uuid.uuid4().hex * 2, "ip": "::1",
                    "user_agent": "Bröwser", "is_remembered": True, "created_at": instant, "last_seen_at": instant,
                    "authenticated_at": None, "expires_at": instant,
                }
                for user in users
            ],
            "audit_entries": [
                {
                    "id": uuid.uuid4(), "created_at": instant, "action": "user.created", "actor_id": None,
                    "target": str(user["id"]), "ip": None, "details": {"name": user["name"]},
                }
                for user in users
            ],
        }  # fmt: skip
        for name, rows in stored.items():
            connection.execute(tables.tables[name].insert(), rows)


def read_rows() -> dict[str, list[dict[str, Any]]]:
    """Return every row of every table but for what later revisions add."""
    with db.engine.connect() as connection:
        found = {name: connection.execute(sa.text(f"SELECT * FROM {name}")).mappings().all() for name in TABLES}  # noqa: S608 - constants
    return {
        name: sorted(({column: row[column] for column in row if column not in LATER} for row in rows), key=repr)
        for name, rows in found.items()
    }


def find_revision() -> str:
    with db.engine.connect() as connection:
        return str(connection.scalar(sa.text("SELECT version_num FROM alembic_version")))


def assert_search_is_filled() -> None:
    with db.engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT name, email, search_text FROM users")).all()
    assert rows
    assert [row.search_text for row in rows] == [make_search_text(row.name, row.email) for row in rows]


def test_every_row_survives_every_migration_in_both_directions(app: Flask) -> None:
    upgrade(revision="0001")
    store_rows()
    old = read_rows()
    assert all(old.values())
    upgrade()
    assert read_rows() == old
    assert_search_is_filled()
    # What is stored at the last revision survives the way down too, and the way up again.
    admin = Factory(app).admin()
    browser = Factory(app).sign_in(admin)
    new = read_rows()
    downgrade(revision="0001")
    assert read_rows() == new
    upgrade()
    assert read_rows() == new
    assert_search_is_filled()
    assert browser.get("/api/v1/users?q=angst").get_json()["items"][0]["name"] == "Zoë Ångström"
    # The test's context is the request's too, and its session is still reading.
    db.session.close()


def test_an_upgrade_that_is_run_twice_changes_nothing_more(app: Flask) -> None:
    del app
    upgrade(revision="0001")
    store_rows()
    for _ in range(2):
        upgrade()
        assert find_revision() == HEAD
    before = read_rows()
    upgrade()
    assert read_rows() == before


@pytest.mark.parametrize("step", ["fill", "create"])
def test_an_upgrade_that_ended_half_way_goes_on_where_it_was(
    app: Flask, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    del app
    upgrade(revision="0001")
    store_rows()
    before = read_rows()

    def die(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(SearchIndex, step, die)
        with pytest.raises(MigrationFailed, match="0002"):
            upgrade()
    assert find_revision() == "0001"
    upgrade()
    assert find_revision() == HEAD
    assert read_rows() == before
    assert_search_is_filled()


def _upgrade_in_a_process(url: str, start: Any, faults: Any) -> None:
    app = make_app(url)
    with app.app_context():
        for _ in range(ROUNDS):
            start.wait(60)
            try:
                upgrade()
            except BaseException as error:  # noqa: BLE001 - told to the test
                faults.put(f"{type(error).__name__}: {error}")
            else:
                faults.put("")


@pytest.mark.parametrize("revision", ["base", "0001"])
def test_processes_that_upgrade_at_once_do_it_once(app: Flask, url: str, revision: str) -> None:
    del app
    context = multiprocessing.get_context("spawn")
    start, faults = context.Barrier(PROCESSES + 1), context.Queue()
    processes = [context.Process(target=_upgrade_in_a_process, args=(url, start, faults)) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    for _ in range(ROUNDS):
        if revision != "base":
            upgrade(revision=revision)
            store_rows(count=600)
        start.wait(60)
        assert [faults.get(timeout=60) for _ in processes] == [""] * PROCESSES
        assert find_revision() == HEAD
        assert len(read_rows()["roles"]) == 2
        if revision != "base":
            assert_search_is_filled()
        downgrade(revision="base")
    for process in processes:
        process.join(60)


def test_what_refers_to_a_table_of_sqlite_that_is_made_anew_stays_and_is_missed_if_it_does_not(tmp_path: Path) -> None:
    app = make_app(f"sqlite:///{tmp_path / 'app.db'}")
    with app.app_context():
        upgrade(revision="0001")
        store_rows()
        before = read_rows()["sessions"]
        with writing() as connection, keeping_referring_rows(connection):
            connection.execute(sa.text("DELETE FROM users"))
            assert find_orphans(connection) == ["sessions", "user_roles"]
        with writing() as connection:
            assert find_orphans(connection) == []
            assert read_rows()["sessions"] == before
            connection.execute(sa.text("DELETE FROM users"))
        assert read_rows()["sessions"] == []
        db.engine.dispose()


@pytest.mark.only_on("sqlite", reason="the others check every reference by themselves")
def test_a_migration_that_would_leave_rows_that_refer_to_nothing_is_taken_back(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    del app
    upgrade(revision="0001")
    store_rows()
    upgrade(revision="0002")
    before = read_rows()
    monkeypatch.setattr(SearchIndex, "drop", lambda _index, op: op.execute("DELETE FROM users"))
    with pytest.raises(MigrationFailed, match="refer to nothing"):
        downgrade(revision="0001")
    assert find_revision() == "0002"
    assert read_rows() == before


# --- nobody waits long ---


@pytest.fixture(params=[POSTGRES, MARIADB])
def busy_url(request: pytest.FixtureRequest) -> Iterator[str]:
    with Postgres() if request.param == "postgresql" else MariaDb() as server:
        yield server.make_url(PATIENT)


@pytest.fixture
def busy_app(busy_url: str) -> Iterator[Flask]:
    """The product at revision 0001, with users."""
    app = make_app(busy_url)
    with app.app_context():
        upgrade(revision="0001")
        store_rows()
        yield app
        db.engine.dispose()


class Writer(threading.Thread):
    """Changes a user again and again, and remembers how long that took at most, and what it failed with."""

    def __init__(self, app: Flask) -> None:
        super().__init__()
        self._app = app
        self._is_over = threading.Event()
        self._error: Exception | None = None
        self.longest = 0.0
        self.count = 0

    def __enter__(self) -> Writer:  # noqa: PYI034 - final
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self.join()
        if self._error is not None:
            raise self._error

    def run(self) -> None:
        try:
            self._write()
        except Exception as error:  # noqa: BLE001 - told to the test
            self._error = error

    def _write(self) -> None:
        with self._app.app_context():
            while not self._is_over.is_set():
                begun_at = time.monotonic()
                with writing() as connection:
                    connection.execute(sa.text("UPDATE users SET name = name WHERE email = 'old1@example.com'"))
                self.longest = max(self.longest, time.monotonic() - begun_at)
                self.count += 1
                time.sleep(0.005)


STATEMENTS = {
    "a report that reads": "SELECT count(*) FROM users",
    "an import that writes": "UPDATE users SET is_active = is_active WHERE email = 'old2@example.com'",
}


@pytest.mark.parametrize("statement", STATEMENTS.values(), ids=STATEMENTS.keys())
@pytest.mark.parametrize("direction", [upgrade, downgrade])
def test_writes_go_on_while_a_migration_waits_for_a_long_transaction(
    busy_app: Flask, direction: Callable[..., None], statement: str
) -> None:
    if direction is downgrade:
        upgrade()
    with db.engine.connect().execution_options(is_write=True) as connection, Writer(busy_app) as writer:
        connection.execute(sa.text(statement))
        timer = threading.Timer(HELD_SECONDS, connection.rollback)
        timer.start()
        begun_at = time.monotonic()
        direction(revision="0002" if direction is upgrade else "0001")
        assert time.monotonic() - begun_at > HELD_SECONDS / 2, "it met no lock"
        timer.join()
    assert writer.count > 10
    assert writer.longest < LONGEST_WRITE_SECONDS
    assert find_revision() == ("0002" if direction is upgrade else "0001")


@pytest.mark.server("postgresql")
def test_an_index_is_made_while_writes_go_on_and_not_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    create = SearchIndex.create
    calls = []
    with Postgres() as server:
        app = make_app(server.make_url(PATIENT))
        with app.app_context():
            upgrade(revision="0001")
            store_rows()
            importing = db.engine.connect()

            def create_beside_an_import(index: SearchIndex, op: Any) -> None:
                calls.append(op)
                importing.execute(sa.text(STATEMENTS["an import that writes"]))
                threading.Timer(HELD_SECONDS, importing.rollback).start()
                create(index, op)

            monkeypatch.setattr(SearchIndex, "create", create_beside_an_import)
            begun_at = time.monotonic()
            with Writer(app) as writer:
                upgrade()
            assert time.monotonic() - begun_at > HELD_SECONDS, "it did not wait"
            importing.close()
            db.engine.dispose()
    assert len(calls) == 1
    assert writer.count > 10
    assert writer.longest < LONGEST_WRITE_SECONDS


def test_a_migration_that_never_gets_its_lock_says_what_to_do(busy_app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    del busy_app
    monkeypatch.setattr("app.database.schema.GIVE_UP_SECONDS", 0.5)
    with db.engine.connect() as connection:
        connection.execute(sa.text(STATEMENTS["a report that reads"]))
        with pytest.raises(LockTimeout, match="run this again"):
            # Past Flask-Migrate, which logs the message and exits.
            upgrade.__wrapped__()
    assert find_revision() == "0001"
