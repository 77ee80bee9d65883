"""Rate limits, from the outside."""

from __future__ import annotations

import collections
import threading
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest

from app.database import DatabaseUnavailable
from tests.factories import PASSWORD, Browser, Factory

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask

LOGIN = "/api/v1/auth/login"
ME = "/api/v1/users/me"


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app(RATELIMIT_ENABLED="true", RATELIMIT_LOGIN="5/hour", RATELIMIT_LOGIN_ADDRESS="1000/hour")


def guess(browser: Browser, email: str) -> Any:
    return browser.post(LOGIN, {"email": email, "password": "not the password at all"})


def test_a_refusal_says_how_long_to_wait(app: Flask, factory: Factory) -> None:
    user, stranger = factory.user(), Browser(app)
    assert [guess(stranger, user.email).status_code for _ in range(6)] == [401] * 5 + [429]
    refused = guess(stranger, user.email)
    assert refused.get_json()["code"] == "rate_limited"
    assert 1 <= int(refused.headers["Retry-After"]) <= 3600
    assert "q=5" in refused.headers["RateLimit-Policy"]
    assert "r=0" in refused.headers["RateLimit"]


def test_parallel_guesses_find_no_gap(app: Flask, factory: Factory) -> None:
    user = factory.user()
    browsers = [Browser(app) for _ in range(12)]
    tokens = [browser.csrf_token() for browser in browsers]
    statuses: collections.Counter[int] = collections.Counter()
    barrier = threading.Barrier(len(browsers))

    def run(browser: Browser, token: str) -> None:
        body = {"email": user.email, "password": "not the password at all"}
        barrier.wait()
        response = browser.client.post(LOGIN, json=body, headers={"X-CSRF-Token": token}, base_url=browser.base_url)
        statuses[response.status_code] += 1

    threads = [threading.Thread(target=run, args=each) for each in zip(browsers, tokens, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == {401: 5, 429: 7}


def test_what_succeeds_costs_nothing(factory: Factory) -> None:
    user = factory.user()
    for _ in range(8):
        factory.sign_in(user)


def test_an_unknown_address_is_limited_as_a_known_one_is(app: Flask, factory: Factory) -> None:
    known, unknown = factory.user().email, "nobody@example.com"
    answers = [[guess(Browser(app), email).status_code for _ in range(7)] for email in (known, unknown)]
    assert answers[0] == answers[1]


def test_strangers_lock_out_neither_the_owners_session_nor_the_owners_browser(app: Flask, factory: Factory) -> None:
    user = factory.user()
    owner, stranger = factory.sign_in(user), Browser(app)
    for _ in range(6):
        guess(stranger, user.email)
    assert guess(stranger, user.email).status_code == 429
    assert owner.get(ME).status_code == 200
    assert owner.post("/api/v1/auth/reauthenticate", {"password": PASSWORD}).status_code == 204
    assert owner.post("/api/v1/auth/logout").status_code == 204
    assert owner.post(LOGIN, {"email": user.email, "password": PASSWORD}).status_code == 200


def test_every_way_to_try_a_password_shares_one_budget(app: Flask, factory: Factory) -> None:
    user = factory.user()
    thief = factory.sign_in(user)
    # A stolen session's cookie comes without the device's.
    thief.client.delete_cookie("device")
    wrong = {"password": "not the password at all"}
    change = {"current_password": "not the password at all", "new_password": f"{PASSWORD} heron"}
    for path, body in (("reauthenticate", wrong), ("password/change", change), ("reauthenticate", wrong)):
        assert thief.post(f"/api/v1/auth/{path}", body).status_code == 401
    assert [guess(Browser(app), user.email).status_code for _ in range(3)] == [401, 401, 429]
    assert thief.post("/api/v1/auth/password/change", change).status_code == 429


def test_an_address_has_one_budget_for_guesses_however_many_accounts_it_has(make_app: Callable[..., Flask]) -> None:
    app = make_app(
        RATELIMIT_ENABLED="true", RATELIMIT_LOGIN_ADDRESS="3/hour", RATELIMIT_ROLES="user.login-address=5/hour"
    )
    factory = Factory(app)
    browsers = [factory.sign_in(factory.user()) for _ in range(3)]
    statuses = [guess(browser, "victim@example.com").status_code for browser in browsers for _ in range(3)]
    assert statuses == [401] * 5 + [429] * 4


def test_another_sites_page_uses_up_nobodys_attempts(app: Flask, factory: Factory) -> None:
    user = factory.user()
    owner = factory.sign_in(user)
    for path in (LOGIN, "/api/v1/auth/reauthenticate"):
        for _ in range(6):
            body = f'{{"email": "{user.email}", "password": "="}}'
            response = owner.client.post(path, data=body, content_type="text/plain", base_url=owner.base_url)
            assert response.get_json()["code"] == "csrf_failed"
    for browser in (owner, Browser(app)):
        assert [guess(browser, user.email).status_code for _ in range(6)] == [401] * 5 + [429]


def test_a_database_that_is_away_is_asked_once_who_the_caller_is(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("default", "login", "login-address")
    roles = " ".join(f"user.{name}=50/minute" for name in names)
    app = make_app(RATELIMIT_ENABLED="true", RATELIMIT_ROLES=roles)
    factory = Factory(app)
    browser = factory.sign_in(factory.user())
    token = browser.csrf_token()
    find = Mock(side_effect=DatabaseUnavailable)
    monkeypatch.setattr("app.find_principal", find)
    body = {"email": "nobody@example.com", "password": PASSWORD}
    answer = browser.client.post(LOGIN, json=body, headers={"X-CSRF-Token": token}, base_url=browser.base_url)
    assert (answer.status_code, find.call_count) == (401, 1)


def test_an_administrator_unlocks_an_account(app: Flask, factory: Factory) -> None:
    user, stranger = factory.user(), Browser(app)
    admin = factory.sign_in(factory.admin())
    for _ in range(6):
        guess(stranger, user.email)
    assert admin.post(f"/api/v1/users/{user.id}/unlock").status_code == 204
    assert guess(stranger, user.email).status_code == 401


def test_every_answer_of_a_limited_route_carries_the_policy(browser: Browser) -> None:
    response = browser.get("/api/v1/auth/csrf")
    assert response.headers["RateLimit-Policy"]
    assert response.headers["RateLimit"]


def test_health_is_not_limited(make_app: Callable[..., Flask]) -> None:
    browser = Browser(make_app(RATELIMIT_ENABLED="true", RATELIMIT_DEFAULT="1/hour"))
    assert [browser.get("/livez").status_code for _ in range(3)] == [200, 200, 200]
    assert [browser.get("/openapi.json").status_code for _ in range(2)] == [200, 429]
