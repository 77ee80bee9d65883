"""A request is answered within five seconds, whatever it waits for: a place in the pool, a lock, a silent server."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from flask_migrate import upgrade

from app import create_app
from app.config import Settings
from app.database import make_engine, parse_database_url
from app.extensions import db
from gatehouse.testing.databases import TEST_ENVIRON
from gatehouse.testing.factories import Factory
from gatehouse.testing.servers.mariadb import MariaDb
from gatehouse.testing.servers.postgres import Postgres

from .conftest import MARIADB, POSTGRES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask import Flask
    from werkzeug.test import TestResponse

    from gatehouse.testing.factories import Browser

ANSWER_SECONDS = 5.0
ME = "/api/v1/users/me"
# One connection, and much patience: what ends the wait is the request's own deadline.
POOL = "pool_size=1&max_overflow=0&pool_timeout=30"
HELD_SECONDS = 2.5


@pytest.fixture(params=["sqlite", POSTGRES, MARIADB])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path_factory.mktemp('database') / 'app.db'}?{POOL}"
        return
    with Postgres() if request.param == "postgresql" else MariaDb() as server:
        yield server.make_url(POOL)


@pytest.fixture
def app(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    # As in a pool where others come and go all the time: only a silent one turns people away sooner.
    monkeypatch.setattr("app.database.pool.ServerPool.silence_seconds", math.inf)
    app = create_app(Settings.from_environ(TEST_ENVIRON | {"DATABASE_URL": url}))
    with app.app_context():
        upgrade()
        # The connection of the migrations has been set up in other ways.
        db.engine.dispose()
    yield app
    with app.app_context():
        db.engine.dispose()


@pytest.fixture
def browser(app: Flask) -> Browser:
    factory = Factory(app)
    return factory.sign_in(factory.user())


def get_engine(app: Flask) -> sa.Engine:
    engine: sa.Engine = app.extensions["database"].kw["bind"]
    return engine


def rename(browser: Browser, token: str) -> tuple[TestResponse, float]:
    begun_at = time.monotonic()
    response: Any = browser.client.patch(
        ME, json={"name": "Somebody"}, headers={"X-CSRF-Token": token}, base_url=browser.base_url
    )
    return response, time.monotonic() - begun_at


def assert_is_answered_in_time(response: TestResponse, seconds: float) -> None:
    assert response.status_code == 503, response.text
    assert response.get_json()["code"] == "database_unavailable"
    assert int(response.headers["Retry-After"]) >= 1
    assert seconds < ANSWER_SECONDS


@pytest.mark.parametrize("path", [ME, f"{ME}/export", f"{ME}/sessions"])
def test_no_answer_needs_a_second_connection_beside_its_first(browser: Browser, path: str) -> None:
    assert browser.get(path).status_code == 200


def test_a_request_that_finds_no_place_in_the_pool_is_answered_in_time(app: Flask, browser: Browser) -> None:
    token = browser.csrf_token()
    with get_engine(app).connect() as held:
        held.execute(sa.text("SELECT 1"))
        assert_is_answered_in_time(*rename(browser, token))
    assert rename(browser, token)[0].status_code == 200


def test_a_request_that_waits_for_the_pool_and_then_for_a_lock_is_answered_in_time(
    app: Flask, url: str, browser: Browser
) -> None:
    token = browser.csrf_token()
    other = make_engine(parse_database_url(url))
    with other.connect().execution_options(is_write=True) as locking:
        locking.execute(sa.text("UPDATE users SET name = name"))
        held = get_engine(app).connect()
        held.execute(sa.text("SELECT 1"))
        timer = threading.Timer(HELD_SECONDS, held.close)
        timer.start()
        response, seconds = rename(browser, token)
        timer.join()
        assert_is_answered_in_time(response, seconds)
        assert seconds > HELD_SECONDS
        locking.rollback()
    other.dispose()
    assert rename(browser, token)[0].status_code == 200
