"""The benchmark's own programs and data: what it compares still works on every database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from app import create_app
from app.config import Settings
from bench.peers import floor
from bench.product import accounts
from bench.product.servers import make_environ

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.every_database

USERS = 60


def test_those_whom_the_benchmark_makes_are_signed_in_and_the_last_one_sees_all(
    make_database: Callable[..., str],
) -> None:
    url = make_database()
    accounts.fill(url, USERS, password_hash="-")
    environ = make_environ(url, RATELIMIT_ENABLED="false")
    first, last = accounts.make_cookies(environ, [1, USERS])
    app = create_app(Settings.from_environ(environ))
    client = app.test_client(use_cookies=False)

    me = client.get("/api/v1/users/me", headers={"Cookie": first}, base_url="https://127.0.0.1")
    page = client.get("/api/v1/users?limit=50", headers={"Cookie": last}, base_url="https://127.0.0.1")

    app.extensions["database"].kw["bind"].dispose()
    assert (me.status_code, me.get_json()["email"], me.get_json()["roles"]) == (200, "user1@example.com", ["user"])
    assert page.status_code == 200
    assert [item["email"] for item in page.get_json()["items"]][:2] == ["user1@example.com", "user2@example.com"]
    assert page.get_json()["next_cursor"]


def test_the_floor_answers_with_the_user(make_database: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", make_database(is_migrated=False))
    floor.seed(3)

    answer = floor.create_app().test_client().get("/users/2")

    assert (answer.status_code, answer.get_json()["email"]) == (200, "user2@example.com")
