"""Signing up, in and out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.factories import PASSWORD

if TYPE_CHECKING:
    from tests.factories import Browser

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
