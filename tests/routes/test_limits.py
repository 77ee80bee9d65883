"""Rate limits, from the outside."""

from __future__ import annotations

import collections
import re
import threading
import uuid
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest

from app.database import DatabaseUnavailable
from app.security import HashingBusy
from gatehouse.testing.factories import PASSWORD, Browser, Factory
from gatehouse.testing.servers.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask

LOGIN = "/api/v1/auth/login"
ME = "/api/v1/users/me"
REAUTHENTICATE = "/api/v1/auth/reauthenticate"
CHANGE = "/api/v1/auth/password/change"


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


def test_what_checks_no_password_uses_up_no_guess(
    app: Flask, factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, stranger = factory.user(), Browser(app)
    for _ in range(10):
        assert stranger.post(LOGIN, {"email": user.email, "password": 5}).status_code == 422
        assert stranger.client.options(LOGIN, json={"email": user.email}, base_url=stranger.base_url).status_code == 200
    hasher = app.extensions["password_hasher"]
    monkeypatch.setattr(hasher, "verify", Mock(side_effect=HashingBusy))
    for _ in range(10):
        assert guess(stranger, user.email).status_code == 503
    monkeypatch.undo()
    assert [guess(Browser(app), user.email).status_code for _ in range(6)] == [401] * 5 + [429]


class Gate:
    """Holds passwords up that are being checked."""

    def __init__(self, app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
        self._opened = threading.Event()
        self.open = self._opened.set
        verify = app.extensions["password_hasher"].verify

        def wait(*arguments: Any) -> bool:
            assert self._opened.wait(20)
            return bool(verify(*arguments))

        monkeypatch.setattr(app.extensions["password_hasher"], "verify", wait)


def sign_in_at_once(app: Flask, email: str, *, password: str, times: int) -> tuple[list[threading.Thread], list[Any]]:
    """Begin to sign in so many times at once; return the threads, and the answers as they come."""
    browsers = [Browser(app) for _ in range(times)]
    tokens = [browser.csrf_token() for browser in browsers]
    answers: list[Any] = []

    def run(browser: Browser, token: str) -> None:
        body = {"email": email, "password": password}
        headers = {"X-CSRF-Token": token}
        answers.append(browser.client.post(LOGIN, json=body, headers=headers, base_url=browser.base_url))

    threads = [threading.Thread(target=run, args=pair) for pair in zip(browsers, tokens, strict=True)]
    for thread in threads:
        thread.start()
    return threads, answers


@pytest.mark.parametrize(("password", "expected"), [(PASSWORD, {200: 8}), ("not it", {401: 5, 429: 3})])
def test_of_many_tries_at_once_those_beyond_the_limit_wait_for_what_becomes_of_the_others(
    app: Flask, factory: Factory, monkeypatch: pytest.MonkeyPatch, password: str, expected: dict[int, int]
) -> None:
    user = factory.user()
    gate = Gate(app, monkeypatch)
    threads, answers = sign_in_at_once(app, user.email, password=password, times=8)
    threads[-1].join(0.2)
    assert answers == []
    gate.open()
    for thread in threads:
        thread.join(20)
    assert collections.Counter(answer.status_code for answer in answers) == expected


def test_whoever_waits_too_long_for_the_others_is_told_to_come_back_and_charged_nothing(
    app: Flask, factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.ratelimit.request_limiter.WAIT_SECONDS", 0.1)
    user = factory.user()
    gate = Gate(app, monkeypatch)
    threads, answers = sign_in_at_once(app, user.email, password=PASSWORD, times=8)
    wait_until(lambda: len(answers) == 3, within_seconds=10, what="those who wait to be told")
    for answer in answers:
        assert (answer.status_code, answer.get_json()["code"]) == (503, "outcome_open")
        assert int(answer.headers["Retry-After"]) >= 1
    gate.open()
    for thread in threads:
        thread.join(20)
    assert collections.Counter(answer.status_code for answer in answers) == {200: 5, 503: 3}
    assert [guess(Browser(app), user.email).status_code for _ in range(6)] == [401] * 5 + [429]


def test_no_preflight_is_an_attempt_at_anything(make_app: Callable[..., Flask]) -> None:
    app = make_app(RATELIMIT_ENABLED="true", RATELIMIT_DEFAULT="100/hour", RATELIMIT_REGISTER="1/hour")
    client = app.test_client()
    policies = set()
    for rule in app.url_map.iter_rules():
        path = re.sub("<[^>]+>", str(uuid.UUID(int=0)), rule.rule)
        response = client.options(path, headers={"Origin": "https://app.example.com"})
        assert response.status_code == 200, path
        policies.add(response.headers.get("RateLimit-Policy"))
    # Only the budget of the address, which counts every request.
    assert policies <= {'"default-3600";q=100;w=3600', None}
    body = {"email": "ada@example.com", "password": PASSWORD}
    assert Browser(app).post("/api/v1/auth/register", body).status_code == 201


def test_the_headers_of_a_success_count_what_was_given_back(app: Flask, factory: Factory) -> None:
    user, stranger = factory.user(), Browser(app)
    right = stranger.post(LOGIN, {"email": user.email, "password": PASSWORD})
    assert '"login-3600";r=5;' in right.headers["RateLimit"]
    wrong = guess(Browser(app), user.email)
    assert '"login-3600";r=4;' in wrong.headers["RateLimit"]
    assert "pending" not in wrong.headers["RateLimit-Policy"]


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


def list_tries(email: str, password: str = "not the password at all") -> list[tuple[str, dict[str, str]]]:
    """Return every call that checks the password of the account of ``email``, and gives ``password``."""
    return [
        (LOGIN, {"email": email, "password": password}),
        (REAUTHENTICATE, {"password": password}),
        (CHANGE, {"current_password": password, "new_password": f"{PASSWORD} heron"}),
    ]


def test_every_way_to_try_a_password_shares_the_budget_of_an_address_or_of_an_ipv6_customer(
    make_app: Callable[..., Flask],
) -> None:
    app = make_app(RATELIMIT_ENABLED="true", RATELIMIT_LOGIN_ADDRESS="3/hour")
    factory = Factory(app)
    # One customer, with the sessions of several accounts.
    users = [factory.user() for _ in range(3)]
    browsers = [factory.sign_in(user) for user in users]
    hosts = [{"REMOTE_ADDR": f"2001:db8:1:2::{number}"} for number in range(1, 4)]
    for number, (user, browser) in enumerate(zip(users, browsers, strict=True)):
        path, body = list_tries(user.email)[number]
        assert browser.post(path, body, environ_base=hosts[number]).status_code == 401
    for user, browser, host in zip(users, browsers, hosts, strict=True):
        for path, body in list_tries(user.email, PASSWORD):
            refused = browser.post(path, body, environ_base=host)
            assert (refused.status_code, refused.get_json()["code"]) == (429, "rate_limited")
        # The session lives on, and at another customer's the password too.
        assert browser.get(ME, environ_base=host).status_code == 200
        assert browser.patch(ME, {"name": "Ada"}, environ_base=host).status_code == 200
        elsewhere = {"REMOTE_ADDR": "2001:db8:1:3::1"}
        assert browser.post(REAUTHENTICATE, {"password": PASSWORD}, environ_base=elsewhere).status_code == 204


def test_only_guesses_that_were_checked_count_against_an_address(make_app: Callable[..., Flask]) -> None:
    app = make_app(RATELIMIT_ENABLED="true", RATELIMIT_LOGIN_ADDRESS="3/hour")
    factory = Factory(app)
    user = factory.user()
    browser, stranger = factory.sign_in(user), Browser(app)
    weak = {"current_password": PASSWORD, "new_password": "short"}
    for _ in range(4):
        for path, body in list_tries(user.email):
            assert browser.post(path, body | {"password": 7}).status_code == 422
            refused = browser.client.post(path, json=body, base_url=browser.base_url)
            assert refused.get_json()["code"] == "csrf_failed"
            assert browser.client.options(path).status_code == 200
            if path != LOGIN:
                assert stranger.post(path, body).status_code == 401
        assert browser.post(CHANGE, weak).get_json()["code"] == "weak_password"
        assert browser.post(REAUTHENTICATE, {"password": PASSWORD}).status_code == 204
    tries = [browser.post(path, body).status_code for path, body in list_tries(user.email)[1:] * 2]
    assert tries == [401, 401, 401, 429]


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
