"""The product on each database: the same schema, the same answers."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from flask_migrate import downgrade, upgrade

from app import create_app
from app.config import Settings
from app.database.search_index import is_search_object
from app.extensions import db
from app.models import Base
from tests.conftest import TEST_ENVIRON
from tests.factories import PASSWORD, Browser, Factory

from .harness.mariadb import MariaDb
from .harness.postgres import Postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask import Flask

USERS = "/api/v1/users"


@pytest.fixture(
    scope="module",
    params=[
        "sqlite",
        pytest.param("postgresql", marks=pytest.mark.server("postgresql")),
        pytest.param("mariadb", marks=pytest.mark.server("mariadb")),
    ],
)
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path_factory.mktemp('database') / 'app.db'}"
        return
    with Postgres() if request.param == "postgresql" else MariaDb() as server:
        yield server.make_url()


@pytest.fixture(scope="module")
def app(url: str) -> Iterator[Flask]:
    app = create_app(Settings.from_environ(TEST_ENVIRON | {"DATABASE_URL": url}))
    with app.app_context():
        upgrade()
        engine = db.engine
    yield app
    engine.dispose()


def find_drift() -> list[Any]:
    with db.engine.connect() as connection:
        options = {"compare_type": True, "include_object": lambda _thing, name, *_rest: not is_search_object(name)}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata))


def test_the_migrations_go_up_and_down_and_make_what_the_models_say(app: Flask) -> None:
    with app.app_context():
        assert find_drift() == []
        downgrade(revision="base")
        upgrade()
        assert find_drift() == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("josé@example.com", "jose@example.com"),
        ("straße@example.com", "strasse@example.com"),
        ("mike@example.com", "m\u0131ke@example.com"),
    ],
)
def test_addresses_that_only_look_alike_are_two_accounts(app: Flask, one: str, other: str) -> None:
    for email in (one, other):
        response = Browser(app).post("/api/v1/auth/register", {"email": email, "password": PASSWORD})
        assert response.status_code == 201, response.text


def test_an_address_is_taken_however_it_is_written(app: Flask) -> None:
    statuses = [
        Browser(app).post("/api/v1/auth/register", {"email": email, "password": PASSWORD}).status_code
        for email in ("ana.ñ@example.com", "ANA.Ñ@Example.COM", "ana.n\u0303@example.com")
    ]
    assert statuses == [201, 409, 409]


def test_of_two_registrations_at_once_one_is_told_that_the_address_is_taken(app: Flask) -> None:
    browsers = [Browser(app) for _ in range(4)]
    tokens = [browser.csrf_token() for browser in browsers]
    codes: list[int] = []
    barrier = threading.Barrier(len(browsers))

    def run(browser: Browser, token: str) -> None:
        body = {"email": "same@example.com", "password": PASSWORD}
        barrier.wait()
        headers = {"X-CSRF-Token": token}
        response = browser.client.post("/api/v1/auth/register", json=body, headers=headers, base_url=browser.base_url)
        codes.append(response.status_code)

    threads = [threading.Thread(target=run, args=each) for each in zip(browsers, tokens, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == [201, 409, 409, 409]


def test_two_administrators_who_take_each_other_away_at_once_leave_one(app: Flask) -> None:
    factory = Factory(app)
    root = factory.sign_in(factory.admin())
    admins = root.get(f"{USERS}?role=admin&limit=200").get_json()["items"]
    own = root.get(f"{USERS}/me").get_json()["id"]
    for admin in admins:
        if admin["id"] != own:
            assert root.patch(f"{USERS}/{admin['id']}", {"is_active": False}).status_code == 200
    for _ in range(5):
        peer = factory.admin()
        pair = [(root, str(peer.id)), (factory.sign_in(peer), own)]
        tokens = [browser.csrf_token() for browser, _target in pair]
        barrier = threading.Barrier(2)

        def run(browser: Browser, target: str, token: str, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            browser.client.patch(
                f"{USERS}/{target}",
                json={"is_active": False},
                headers={"X-CSRF-Token": token},
                base_url=browser.base_url,
            )

        threads = [threading.Thread(target=run, args=(*pair[each], tokens[each])) for each in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        survivors = [browser for browser, _target in pair if browser.get(f"{USERS}/me").status_code == 200]
        assert len(survivors) == 1
        root = survivors[0]
        own = root.get(f"{USERS}/me").get_json()["id"]


@pytest.mark.parametrize("sort", ["created_at", "-created_at", "email", "-email", "name", "-name"])
def test_pages_hold_every_user_once_in_order(app: Flask, sort: str) -> None:
    factory = Factory(app)
    for name in ("Émile", "emile", "Zoë", "", "李", "ß"):
        factory.user(name=name)
    browser = factory.sign_in(factory.admin())
    found: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        page = browser.get(f"{USERS}?limit=3&sort={sort}{f'&cursor={cursor}' if cursor else ''}").get_json()
        found += page["items"]
        cursor = page["next_cursor"]
    field = sort.removeprefix("-")
    assert len({user["id"] for user in found}) == len(found)
    # Code points, on every database.
    assert [user[field] for user in found] == sorted((user[field] for user in found), reverse=sort.startswith("-"))
