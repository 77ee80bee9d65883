"""Signing up, in and out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from app.extensions import db
from app.models import Session
from gatehouse.testing.factories import PASSWORD

if TYPE_CHECKING:
    from typing import Any

    from flask import Flask

    from gatehouse.testing.clock import Clock
    from gatehouse.testing.factories import Browser, Factory

TARGET = "/api/v1/users/me"


def test_a_new_user_registers_and_is_signed_in(browser: Browser) -> None:
    response = browser.post("/api/v1/auth/register", {"email": "Ada@Example.com", "password": PASSWORD, "name": "Ada"})
    assert response.status_code == 201
    assert response.get_json()["email"] == "ada@example.com"
    assert browser.get(TARGET).get_json()["name"] == "Ada"


def test_a_cookie_replayed_after_signing_out_is_refused(user_browser: Browser) -> None:
    cookie = user_browser.client.get_cookie("session")
    assert cookie is not None
    assert user_browser.post("/api/v1/auth/logout").status_code == 204
    user_browser.client.set_cookie("session", cookie.value)
    assert user_browser.get(TARGET).status_code == 401


def test_a_user_signs_in_from_two_browsers_at_the_same_instant(factory: Factory, user: Any, clock: Clock) -> None:
    del clock  # It stands still: the second time nothing of the user's row changes, and MySQL might count no row.
    here, there = factory.sign_in(user), factory.sign_in(user)
    assert here.get(TARGET).status_code == there.get(TARGET).status_code == 200


def test_signing_in_costs_five_statements_and_one_more_from_a_browser_that_the_account_does_not_know(
    user: Any, browser: Browser, statements: list[str]
) -> None:
    usual = ["SELECT", "UPDATE", "SELECT", "INSERT", "INSERT"]
    for expected in ([*usual, "INSERT"], [*usual[:2], "DELETE", *usual[2:]]):
        browser.csrf_token()
        statements.clear()
        answer = browser.post("/api/v1/auth/login", {"email": user.email, "password": PASSWORD})
        assert answer.status_code == 200
        assert [statement.split()[0] for statement in statements] == expected


def test_an_inactive_user_is_refused_with_the_right_password_too(
    app: Flask, factory: Factory, admin_browser: Browser, browser: Browser
) -> None:
    user = factory.user()
    admin_browser.patch(f"/api/v1/users/{user.id}", {"is_active": False})
    refused = browser.post("/api/v1/auth/login", {"email": user.email, "password": PASSWORD})
    assert (refused.status_code, refused.get_json()["code"]) == (401, "invalid_credentials")
    with app.app_context():
        assert db.session.scalar(sa.select(sa.func.count()).where(Session.user_id == user.id)) == 0
