"""Another site's page cannot make a visitor's browser change anything here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from app.http import bodies
from app.security import sessions
from gatehouse.testing.factories import PASSWORD, Browser, Factory

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask
    from werkzeug.test import TestResponse


ME = "/api/v1/users/me"
LOGIN = "/api/v1/auth/login"
NEW_KEY = "_W2C-NFlwSYNK8vHC6uYpcUJGxutI05G3tGLE6Yh2zTf0L0F"


def assert_csrf_failed(response: TestResponse) -> None:
    """Expect the refusal."""
    assert (response.status_code, response.get_json()["code"]) == (403, "csrf_failed")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v1/auth/logout"),
        ("PATCH", ME),
        ("DELETE", ME),
        ("DELETE", f"{ME}/sessions"),
        ("POST", "/api/v1/users"),
        ("PUT", "/api/v1/users/00000000-0000-7000-8000-000000000000/roles/admin"),
    ],
)
def test_a_call_with_a_cookie_needs_the_token_of_its_own_session(
    admin_browser: Browser, app: Flask, method: str, path: str
) -> None:
    stranger = Browser(app).csrf_token()
    for token in ("", "wrong", stranger):
        response = admin_browser.client.open(path, method=method, json={}, headers={"X-CSRF-Token": token})
        assert_csrf_failed(response)
    assert_csrf_failed(admin_browser.client.open(path, method=method, json={}))
    assert admin_browser.get(ME).status_code == 200


@pytest.mark.parametrize("path", [LOGIN, "/api/v1/auth/register"])
def test_signing_in_and_registering_need_a_token_too(browser: Browser, user: Any, path: str) -> None:
    body = {"email": user.email, "password": PASSWORD}
    assert_csrf_failed(browser.client.post(path, json=body))
    browser.csrf_token()
    assert_csrf_failed(browser.client.post(path, json=body))
    assert browser.get(ME).status_code == 401


def test_a_token_from_before_signing_in_is_worth_nothing_afterwards(browser: Browser, user: Any) -> None:
    before = browser.csrf_token()
    signed_in = browser.post(LOGIN, {"email": user.email, "password": PASSWORD})
    assert_csrf_failed(browser.client.patch(ME, json={"name": "x"}, headers={"X-CSRF-Token": before}))
    headers = {"X-CSRF-Token": signed_in.get_json()["csrf_token"]}
    assert browser.client.patch(ME, json={"name": "x"}, headers=headers).status_code == 200


@pytest.mark.no_database
def test_an_anonymous_call_to_a_guarded_route_is_401(browser: Browser) -> None:
    response = browser.client.patch(ME, json={"name": "x"})
    assert (response.status_code, response.get_json()["code"]) == (401, "not_signed_in")
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


def test_the_token_counts_in_the_header_alone(user_browser: Browser) -> None:
    token = user_browser.csrf_token()
    assert_csrf_failed(user_browser.client.patch(f"{ME}?csrf_token={token}", json={"name": "x"}))
    assert_csrf_failed(user_browser.client.patch(ME, json={"name": "x", "csrf_token": token}))
    assert_csrf_failed(user_browser.client.post("/api/v1/auth/logout", data={"csrf_token": token}))


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
)
def test_json_under_the_type_of_a_form_is_refused(user_browser: Browser, content_type: str) -> None:
    body = b'{"name": "evil"}'
    assert_csrf_failed(user_browser.client.patch(ME, data=body, content_type=content_type))
    token = {"X-CSRF-Token": user_browser.csrf_token()}
    response = user_browser.client.patch(ME, data=body, content_type=content_type, headers=token)
    assert (response.status_code, response.get_json()["code"]) == (415, "unsupported_media_type")
    assert user_browser.get(ME).get_json()["name"] == ""


@pytest.mark.parametrize("header", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"])
def test_a_header_does_not_change_the_method(user_browser: Browser, header: str) -> None:
    assert user_browser.get(ME, headers={header: "DELETE"}).status_code == 200
    assert user_browser.get(f"{ME}?_method=DELETE").status_code == 200
    assert user_browser.post(ME, {}, headers={header: "DELETE"}).status_code == 405
    assert user_browser.get(ME).status_code == 200


def test_a_call_with_a_bearer_token_needs_none_and_ignores_the_cookie(user_browser: Browser, user: Any) -> None:
    bearer = {"Authorization": "Bearer whatever"}
    for response in (
        user_browser.get(ME, headers=bearer),
        user_browser.client.patch(ME, json={"name": "x"}, headers=bearer),
        user_browser.client.post("/api/v1/auth/logout", headers=bearer),
        user_browser.get(ME, headers={"Authorization": "bearer"}),
    ):
        assert (response.status_code, response.get_json()["code"]) == (401, "not_signed_in")
    assert user_browser.get(ME).get_json()["email"] == user.email


def test_another_kind_of_authorization_is_no_way_around_the_token(user_browser: Browser) -> None:
    for value in ("Basic dTpw", "Digest x", "bearerx", ""):
        headers = {"Authorization": value}
        assert_csrf_failed(user_browser.client.patch(ME, json={"name": "x"}, headers=headers))


def test_a_former_key_still_verifies_cookie_and_token(
    make_app: Callable[..., Flask], environ: dict[str, str], user_browser: Browser
) -> None:
    token = user_browser.csrf_token()
    cookie = user_browser.client.get_cookie("session")
    assert cookie is not None
    moved = Browser(make_app(SECRET_KEY=NEW_KEY, SECRET_KEY_FALLBACKS=environ["SECRET_KEY"]))
    moved.client.set_cookie("session", cookie.value)
    assert moved.get(ME).status_code == 200
    assert moved.client.patch(ME, json={"name": "x"}, headers={"X-CSRF-Token": token}).status_code == 200
    assert moved.patch(ME, {"name": "y"}).status_code == 200


def test_a_key_that_was_dropped_verifies_nothing(
    make_app: Callable[..., Flask], environ: dict[str, str], user_browser: Browser
) -> None:
    token = user_browser.csrf_token()
    cookie = user_browser.client.get_cookie("session")
    assert cookie is not None
    dropped = Browser(make_app(SECRET_KEY=NEW_KEY))
    dropped.client.set_cookie("session", cookie.value)
    assert dropped.get(ME).status_code == 401
    # A new key signs what is new: whoever has the old one only forges nothing.
    kept = make_app(SECRET_KEY=NEW_KEY, SECRET_KEY_FALLBACKS=environ["SECRET_KEY"])
    fresh = Browser(kept)
    assert_csrf_failed(fresh.client.post(LOGIN, json={}, headers={"X-CSRF-Token": token}))
    fresh.csrf_token()
    issued = fresh.client.get_cookie("session")
    assert issued is not None
    dropped.client.set_cookie("session", issued.value)
    assert dropped.client.post(LOGIN, json={}, headers={"X-CSRF-Token": fresh.csrf_token()}).status_code == 422


def test_cookies_are_http_only_and_lax(factory: Factory, user: Any) -> None:
    browser = factory.sign_in(user)
    for name in ("session", "device"):
        cookie = browser.client.get_cookie(name)
        assert cookie is not None
        assert (cookie.http_only, cookie.same_site, cookie.path, cookie.secure) == (True, "Lax", "/", False)


def test_cookies_are_bound_to_host_and_https_in_production(make_app: Callable[..., Flask], user: Any) -> None:
    app = make_app(SESSION_COOKIE_SECURE="true")
    browser = Browser(app, base_url="https://localhost")
    response = browser.post(LOGIN, {"email": user.email, "password": PASSWORD})
    cookies = response.headers.getlist("Set-Cookie")
    assert {cookie.partition("=")[0] for cookie in cookies} == {"__Host-session", "__Host-device"}
    for cookie in cookies:
        assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= set(cookie.split("; "))
        assert "Domain=" not in cookie
    # A cookie of the other name, which a neighbour's host could plant, counts for nothing.
    browser.client.set_cookie("session", cookies[0].partition("=")[2].partition(";")[0])
    browser.client.delete_cookie("__Host-session")
    assert browser.get(ME).status_code == 401


def test_a_sign_in_reads_its_body_and_judges_its_token_once(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(RATELIMIT_ENABLED="true")
    user, browser = Factory(app).user(), Browser(app)
    done: list[str] = []

    def note(module: Any, name: str) -> None:
        do = getattr(module, name)

        def noted(*given: Any, **named: Any) -> Any:
            done.append(name)
            return do(*given, **named)

        monkeypatch.setattr(module, name, noted)

    note(bodies, "parse_json")
    note(sessions, "validate_csrf")
    body = {"email": user.email, "password": PASSWORD}
    for _ in range(2):
        assert browser.post(LOGIN, body).status_code == 200
        assert sorted(done) == ["parse_json", "validate_csrf"]
        done.clear()
