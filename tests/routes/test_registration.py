"""Signing up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from app.extensions import db
from app.models import User
from gatehouse.testing.factories import PASSWORD, Browser

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask

REGISTER = "/api/v1/auth/register"
LOGIN = "/api/v1/auth/login"
ME = "/api/v1/users/me"


def count_users(app: Flask) -> int:
    """Return how many users are stored."""
    with app.app_context():
        return db.session.scalar(sa.select(sa.func.count()).select_from(User)) or 0


def test_a_new_account_holds_the_role_user_and_may_do_nothing(browser: Browser) -> None:
    made = browser.post(REGISTER, {"email": "ada@example.com", "password": PASSWORD}).get_json()
    assert (made["roles"], made["permissions"], made["is_active"], made["mfa_enabled"]) == (["user"], [], True, False)
    assert made["email_verified_at"] is None
    assert made.keys().isdisjoint({"password", "password_hash"})
    assert made["created_at"].endswith("Z")
    for path in ("/api/v1/users", "/api/v1/roles", "/api/v1/permissions", "/api/v1/audit"):
        refused = browser.get(path)
        assert (refused.status_code, refused.get_json()["code"]) == (403, "permission_missing")


@pytest.mark.parametrize("email", ["ana.ñ@example.com", "ANA.Ñ@Example.COM", "ana.n\u0303@EXAMPLE.com"])
def test_an_address_is_taken_however_it_is_spelled(app: Flask, browser: Browser, email: str) -> None:
    assert browser.post(REGISTER, {"email": "ana.ñ@example.com", "password": PASSWORD}).status_code == 201
    again = Browser(app).post(REGISTER, {"email": email, "password": PASSWORD})
    assert (again.status_code, again.get_json()["code"]) == (409, "email_taken")
    assert count_users(app) == 1


def test_addresses_that_only_look_alike_are_two(app: Flask) -> None:
    emails = ["mike@example.com", "m\u0131ke@example.com", "jose@example.com", "josé@example.com"]
    emails += ["strasse@example.com", "straße@example.com"]
    for email in emails:
        assert Browser(app).post(REGISTER, {"email": email, "password": PASSWORD}).status_code == 201
    assert count_users(app) == len(emails)
    for email in emails:
        browser = Browser(app)
        assert browser.post(LOGIN, {"email": email, "password": PASSWORD}).get_json()["user"]["email"] == email


@pytest.mark.parametrize(
    "field", ["role", "roles", "permissions", "is_active", "id", "email_verified_at", "created_at", "password_hash"]
)
def test_nobody_sets_what_is_not_theirs_to_set(app: Flask, browser: Browser, field: str) -> None:
    body: dict[str, Any] = {"email": "ada@example.com", "password": PASSWORD, field: "admin"}
    response = browser.post(REGISTER, body)
    assert response.status_code == 422
    assert list(response.get_json()["errors"]) == [field]
    assert count_users(app) == 0


@pytest.mark.parametrize(
    ("password", "name"),
    [
        ("fourteen chars", ""),
        ("123456789012345", ""),
        ("passwordpassword", ""),
        ("qwertyuiopasdfgh", ""),
        ("aaaaaaaaaaaaaaaaaaaaaaaa", ""),
        ("ada.lovelace@example.com", ""),
        ("Ada Lovelace 1815!", "Ada Lovelace"),
        ("gatehouse-gatehouse", ""),
    ],
)
def test_a_password_that_is_short_or_easy_is_refused_by_name(
    app: Flask, browser: Browser, password: str, name: str
) -> None:
    body = {"email": "ada.lovelace@example.com", "password": password, "name": name}
    response = browser.post(REGISTER, body)
    assert (response.status_code, response.get_json()["code"]) == (422, "weak_password")
    assert list(response.get_json()["errors"]) == ["password"]
    assert password not in response.text
    assert count_users(app) == 0


@pytest.mark.parametrize(
    "password",
    [
        "turnip lantern gravel osprey",
        "übergroße Straßenlaterne 漢字",
        "kf7Wq9ZrT2mXb5L",
        "correct horse " * 18 + "abcd",
    ],
)
def test_long_passwords_of_any_characters_are_accepted_and_kept_whole(
    app: Flask, browser: Browser, password: str
) -> None:
    assert browser.post(REGISTER, {"email": "ada@example.com", "password": password}).status_code == 201
    for wrong in (password[:-1], password + "x", password[:72]):
        response = Browser(app).post(LOGIN, {"email": "ada@example.com", "password": wrong[:256]})
        assert response.status_code == (200 if wrong[:256] == password else 401)
    assert Browser(app).post(LOGIN, {"email": "ada@example.com", "password": password}).status_code == 200


def test_a_password_is_the_same_however_the_keyboard_composes_it(app: Flask, browser: Browser) -> None:
    composed, decomposed = "\u00fcbergro\u00dfe Laterne", "u\u0308bergro\u00dfe Laterne"
    assert browser.post(REGISTER, {"email": "ada@example.com", "password": composed}).status_code == 201
    assert Browser(app).post(LOGIN, {"email": "ada@example.com", "password": decomposed}).status_code == 200


@pytest.mark.parametrize("password", ["x" * 257, "x" * 50_000])
@pytest.mark.no_database
def test_an_over_long_password_is_refused_before_it_is_hashed(
    app: Flask, browser: Browser, password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(type(app.extensions["password_hasher"]), "verify")
    monkeypatch.delattr(type(app.extensions["password_hasher"]), "hash")
    for path in (REGISTER, LOGIN):
        response = browser.post(path, {"email": "ada@example.com", "password": password})
        assert (response.status_code, list(response.get_json()["errors"])) == (422, ["password"])


def test_nobody_registers_where_registration_is_closed(make_app: Callable[..., Flask]) -> None:
    app = make_app(REGISTRATION="closed")
    response = Browser(app).post(REGISTER, {"email": "ada@example.com", "password": PASSWORD})
    assert (response.status_code, response.get_json()["code"]) == (403, "registration_closed")
    assert count_users(app) == 0


def test_a_sign_in_is_refused_in_one_way_whatever_the_cause(
    app: Flask, factory: Any, user: Any, admin_browser: Browser
) -> None:
    inactive, without_password = factory.user(), factory.user(password=None)
    admin_browser.patch(f"/api/v1/users/{inactive.id}", {"is_active": False})
    attempts = [(user.email, "wrong"), ("nobody@example.com", PASSWORD), (inactive.email, PASSWORD)]
    attempts.append((without_password.email, PASSWORD))
    answers = []
    for email, password in attempts:
        for remember in (True, False):
            browser = Browser(app)
            response = browser.post(LOGIN, {"email": email, "password": password, "remember": remember})
            problem = response.get_json()
            del problem["request_id"]
            headers = {name for name, _ in response.headers if name != "X-Request-ID"}
            answers.append((response.status_code, problem, headers, len(response.data)))
            assert browser.client.get_cookie("device") is None
    assert all(answer == answers[0] for answer in answers)
    assert answers[0][:2] == (401, answers[0][1] | {"code": "invalid_credentials"})


def test_a_sign_in_tells_when_it_was(user_browser: Browser, user: Any) -> None:
    assert user.last_login_at is None
    assert user_browser.get(ME).get_json()["last_login_at"] is not None
