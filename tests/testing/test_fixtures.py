"""What the tests of an extension may ask for does what it says."""

from __future__ import annotations

import json
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from gatehouse.testing.servers import mariadb, postgres, redis
from gatehouse.testing.servers.processes import ServerMissing
from gatehouse.testing.servers.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask

    from gatehouse.testing import Browser, Clock, Factory
    from gatehouse.testing.servers.product import Product
    from gatehouse.testing.servers.redis import RedisServer


def test_a_wrong_number_of_queries_fails_and_shows_them(user_browser: Browser, assert_queries: Any) -> None:
    with assert_queries(1):
        assert user_browser.get("/api/v1/users/me").status_code == 200
    with pytest.raises(AssertionError, match=r"queries expected: 2, sent: 1\n +SELECT"), assert_queries(2):
        user_browser.get("/api/v1/users/me")


def test_a_browser_may_do_what_it_was_asked_for_with_and_no_more(factory: Factory) -> None:
    browser = factory.sign_in_with("users:read")
    assert browser.get("/api/v1/users").status_code == 200
    assert browser.get("/api/v1/roles").status_code == 403


def test_turning_the_clock_ends_sessions(clock: Clock, user_browser: Browser) -> None:
    clock.advance(366 * 24 * 3600)
    assert user_browser.get("/api/v1/users/me").status_code == 401


@pytest.mark.every_database
def test_a_live_server_serves_the_database_of_the_test(factory: Factory, live_server: Product) -> None:
    factory.user(email="ada@example.com")
    with urllib.request.urlopen(f"{live_server.url}/readyz", timeout=10) as response:  # noqa: S310 - our own URL
        assert json.load(response)["status"] == "ok"


def test_a_limit_goes_on_while_its_store_is_away(make_app: Callable[..., Flask], limiter_store: RedisServer) -> None:
    app = make_app(RATELIMIT_ENABLED="true", RATELIMIT_STORAGE_URI=limiter_store.url)

    def get_state() -> Any:
        return app.test_client().get("/readyz").get_json()["status"]

    assert get_state() == "ok"
    limiter_store.kill()
    wait_until(lambda: get_state() == "degraded", within_seconds=10, what="the limiter to miss its store")
    assert app.test_client().get("/api/v1/auth/csrf").status_code == 200
    limiter_store.start()
    wait_until(lambda: get_state() == "ok", within_seconds=10, what="the limiter to find its store")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (postgres.Postgres, "apt-get install postgresql, or leave out what needs it: --without postgresql"),
        (mariadb.MariaDb, "apt-get install mariadb-server, or leave out what needs it: --without mariadb"),
        (redis.RedisServer, "apt-get install redis-server, or leave out what needs it: --without redis"),
    ],
)
def test_a_server_that_is_not_installed_is_named_with_what_to_do(
    make: Callable[[], object], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "_FOLDERS", ())
    monkeypatch.setattr(mariadb, "_FOLDERS", ())
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ServerMissing, match=said):
        make()
