"""An administrator wants another password at the next sign-in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gatehouse.testing.factories import PASSWORD, Browser

if TYPE_CHECKING:
    from flask import Flask

    from gatehouse.testing.factories import Factory
    from gatehouse.testing.mailbox import Mailbox

ME = "/api/v1/users/me"
CHANGE = "/api/v1/auth/password/change"
NEW = "marble anchor violet thimble"


@pytest.fixture
def required(user: Any, admin_browser: Browser) -> Any:
    """``user``, of whom another password is required."""
    answer = admin_browser.patch(f"/api/v1/users/{user.id}", {"password_change_required": True})
    assert (answer.status_code, answer.get_json()["password_change_required"]) == (200, True)
    return user


def test_the_sessions_end_and_the_next_one_does_nothing_before_the_password_is_changed(
    factory: Factory, user: Any, user_browser: Browser, admin_browser: Browser
) -> None:
    admin_browser.patch(f"/api/v1/users/{user.id}", {"password_change_required": True})
    assert user_browser.get(ME).status_code == 401
    browser = factory.sign_in(user)
    refused = [
        browser.get(f"{ME}/sessions"),
        browser.patch(ME, {"name": "Ada"}),
        browser.delete(ME),
        browser.get(f"{ME}/export"),
        browser.get("/api/v1/users"),
        browser.post("/api/v1/auth/reauthenticate", {"password": PASSWORD}),
        browser.post("/api/v1/auth/email/change", {"new_email": "new@example.com"}),
    ]
    answers = {(answer.status_code, answer.get_json()["code"]) for answer in refused}
    assert answers == {(403, "password_change_required")}
    assert browser.get(ME).get_json()["password_change_required"] is True
    assert browser.get("/api/v1/auth/csrf").status_code == 200
    assert browser.post(CHANGE, {"current_password": PASSWORD, "new_password": NEW}).status_code == 204
    assert browser.get(ME).get_json()["password_change_required"] is False
    assert browser.get(f"{ME}/sessions").status_code == 200


def test_whoever_has_to_change_the_password_may_sign_out_instead(factory: Factory, required: Any) -> None:
    browser = factory.sign_in(required)
    assert browser.post("/api/v1/auth/logout").status_code == 204
    assert browser.get(ME).status_code == 401


def test_the_former_password_is_not_taken_as_the_new_one(
    app: Flask, factory: Factory, required: Any, mailbox: Mailbox
) -> None:
    browser = factory.sign_in(required)
    answer = browser.post(CHANGE, {"current_password": PASSWORD, "new_password": PASSWORD})
    assert (answer.status_code, answer.get_json()["code"]) == (422, "weak_password")
    stranger = Browser(app)
    stranger.post("/api/v1/auth/password/forgot", {"email": required.email})
    mailbox.deliver()
    token = mailbox.find_token(required.email)
    answer = stranger.post("/api/v1/auth/password/reset", {"token": token, "new_password": PASSWORD})
    assert (answer.status_code, answer.get_json()["code"]) == (422, "weak_password")
    assert stranger.post("/api/v1/auth/password/reset", {"token": token, "new_password": NEW}).status_code == 204


def test_a_reset_lifts_it(app: Flask, factory: Factory, required: Any, mailbox: Mailbox) -> None:
    stranger = Browser(app)
    stranger.post("/api/v1/auth/password/forgot", {"email": required.email})
    mailbox.deliver()
    stranger.post("/api/v1/auth/password/reset", {"token": mailbox.find_token(required.email), "new_password": NEW})
    browser = factory.sign_in(required, password=NEW)
    assert browser.get(f"{ME}/sessions").status_code == 200


def test_an_administrator_lifts_it(factory: Factory, required: Any, admin_browser: Browser) -> None:
    browser = factory.sign_in(required)
    admin_browser.patch(f"/api/v1/users/{required.id}", {"password_change_required": False})
    assert browser.get(f"{ME}/sessions").status_code == 200


def test_it_costs_a_request_no_query(factory: Factory, required: Any, statements: list[str]) -> None:
    browser = factory.sign_in(required)
    statements.clear()
    assert browser.get(f"{ME}/sessions").status_code == 403
    assert len(statements) == 1


def test_nobody_requires_it_of_somebody_who_outranks_them(factory: Factory, admin: Any) -> None:
    clerk = factory.sign_in_with("users:write")
    answer = clerk.patch(f"/api/v1/users/{admin.id}", {"password_change_required": True})
    assert (answer.status_code, answer.get_json()["code"]) == (403, "target_outranks_actor")
