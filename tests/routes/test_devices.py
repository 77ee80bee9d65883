"""Under which key a guess at a password is counted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from app.http.limits import account, own_account
from app.security import devices, list_account_keys
from gatehouse.testing.factories import PASSWORD, Browser

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask

    from gatehouse.testing.clock import Clock
    from gatehouse.testing.factories import Factory

NEW_KEY = "CB7OhtGgEuCcii9RguQ70takB06El5TyWPLAeiDtRnGaYFfK"


def find_account(app: Flask, body: object, *, device: str | None = None, **headers: str) -> str:
    """Return the key that a sign-in with ``body`` counts under."""
    cookies = {"Cookie": f"device={device}"} if device else {}
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    with app.test_request_context("/api/v1/auth/login", method="POST", data=data, headers=cookies | headers):
        return account.find()


def test_strangers_share_the_accounts_key_whether_or_not_there_is_one(app: Flask, user: Any) -> None:
    assert find_account(app, {"email": user.email}) == user.email
    assert find_account(app, {"email": user.email.upper()}) == user.email
    assert find_account(app, {"email": "nobody@example.com"}) == "nobody@example.com"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", [], None, 5, {}, {"email": None}, {"email": 5}, {"email": "x"}, {"email": ["a"]}]
)
@pytest.mark.no_database
def test_a_body_that_names_no_account_has_no_key(app: Flask, body: object) -> None:
    assert find_account(app, body) == ""


def test_a_browser_that_signed_in_has_a_key_of_its_own_also_after_signing_out(
    app: Flask, user: Any, user_browser: Browser
) -> None:
    user_browser.post("/api/v1/auth/logout")
    key = find_account(app, {"email": user.email}, device=user_browser.cookies["device"])
    assert f"account:{key}" in list_account_keys(user.email)[1:]
    # Signing in again is no way to another budget.
    user_browser.post("/api/v1/auth/login", {"email": user.email, "password": PASSWORD})
    assert find_account(app, {"email": user.email}, device=user_browser.cookies["device"]) == key


@pytest.mark.parametrize(("behind_seconds", "is_known"), [(1, True), (60, True), (61, False)])
def test_a_host_whose_clock_is_behind_by_up_to_a_minute_knows_the_browser(
    app: Flask, clock: Clock, user: Any, user_browser: Browser, *, behind_seconds: int, is_known: bool
) -> None:
    clock.advance(-behind_seconds)
    key = find_account(app, {"email": user.email}, device=user_browser.cookies["device"])
    assert (key != user.email) is is_known


def test_registering_makes_the_browser_known_too(app: Flask, browser: Browser) -> None:
    browser.post("/api/v1/auth/register", {"email": "ada@example.com", "password": PASSWORD})
    key = find_account(app, {"email": "ada@example.com"}, device=browser.cookies["device"])
    assert key.startswith("ada@example.com/device-")


def test_hardly_two_browsers_of_an_account_share_a_key(app: Flask, factory: Factory, user: Any) -> None:
    browsers = [factory.sign_in(user) for _ in range(8)]
    keys = {find_account(app, {"email": user.email}, device=browser.cookies["device"]) for browser in browsers}
    assert len(keys) > 2


def test_a_cookie_is_worth_nothing_for_another_account(app: Flask, factory: Factory, user_browser: Browser) -> None:
    other = factory.user()
    device = user_browser.cookies["device"]
    assert find_account(app, {"email": other.email}, device=device) == other.email


def test_a_forged_or_damaged_cookie_makes_a_stranger(app: Flask, user: Any, user_browser: Browser) -> None:
    real = user_browser.cookies["device"]
    for device in ("x", ".", "..", real[:-1], real + "x", real.swapcase(), user_browser.cookies["session"], "é"):
        assert find_account(app, {"email": user.email}, device=device) == user.email


def test_a_cookie_runs_out(app: Flask, user: Any, user_browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "DEVICE_SECONDS", -1)
    device = user_browser.cookies["device"]
    assert find_account(app, {"email": user.email}, device=device) == user.email


def test_a_bearer_token_ignores_the_cookie(app: Flask, user: Any, user_browser: Browser) -> None:
    headers = {"Authorization": "Bearer x"}
    device = user_browser.cookies["device"]
    assert find_account(app, {"email": user.email}, device=device, **headers) == user.email


def test_a_former_key_still_verifies_and_the_new_one_signs(
    make_app: Callable[..., Flask], environ: dict[str, str], user: Any, user_browser: Browser
) -> None:
    device = user_browser.cookies["device"]
    rotated = make_app(SECRET_KEY=NEW_KEY, SECRET_KEY_FALLBACKS=environ["SECRET_KEY"])
    dropped = make_app(SECRET_KEY=NEW_KEY)
    assert "/device-" in find_account(rotated, {"email": user.email}, device=device)
    assert "/device-" not in find_account(dropped, {"email": user.email}, device=device)
    browser = Browser(rotated)
    browser.client.set_cookie("device", device)
    browser.post("/api/v1/auth/login", {"email": user.email, "password": PASSWORD})
    assert "/device-" in find_account(dropped, {"email": user.email}, device=browser.cookies["device"])


def test_the_cookie_signs_nobody_in_and_tells_nobody_whose_it_is(app: Flask, user: Any, user_browser: Browser) -> None:
    browser = Browser(app)
    browser.client.set_cookie("device", user_browser.cookies["device"])
    browser.client.set_cookie("session", user_browser.cookies["device"])
    assert browser.get("/api/v1/users/me").status_code == 401
    assert user.email not in user_browser.cookies["device"]
    assert str(user.id) not in user_browser.cookies["device"]


def test_a_refused_sign_in_marks_no_browser(app: Flask, user: Any) -> None:
    browser = Browser(app)
    browser.post("/api/v1/auth/login", {"email": user.email, "password": "wrong"})
    assert "device" not in browser.cookies


def test_guesses_from_a_session_count_with_those_at_the_door(app: Flask, user: Any, user_browser: Browser) -> None:
    keys = []
    for cookies in (user_browser.cookies, {"session": user_browser.cookies["session"]}, {}):
        header = "; ".join(f"{name}={value}" for name, value in cookies.items())
        with app.test_request_context("/", headers={"Cookie": header}):
            keys.append(own_account.find())
    assert keys[0] == find_account(app, {"email": user.email}, device=user_browser.cookies["device"])
    assert keys[1:] == [user.email, ""]


def test_a_locked_account_stays_open_to_the_browsers_that_it_knows(make_app: Callable[..., Flask], user: Any) -> None:
    app = make_app(RATELIMIT_ENABLED="true", RATELIMIT_LOGIN="3/hour")
    body = {"email": user.email, "password": PASSWORD}
    owner, attacker = Browser(app), Browser(app)
    assert owner.post("/api/v1/auth/login", body).status_code == 200
    statuses = [attacker.post("/api/v1/auth/login", body | {"password": "wrong"}).status_code for _ in range(4)]
    assert statuses == [401, 401, 401, 429]
    assert attacker.post("/api/v1/auth/login", body).status_code == 429
    assert owner.post("/api/v1/auth/reauthenticate", {"password": PASSWORD}).status_code == 204
    owner.post("/api/v1/auth/logout")
    assert owner.post("/api/v1/auth/login", body).status_code == 200
    # The known browser's own guesses are limited all the same, at the door and inside alike.
    statuses = [owner.post("/api/v1/auth/reauthenticate", {"password": "wrong"}).status_code for _ in range(2)]
    statuses += [owner.post("/api/v1/auth/login", body | {"password": "wrong"}).status_code for _ in range(2)]
    assert statuses == [401, 401, 401, 429]


def test_unlocking_opens_the_account_again_to_strangers_and_to_its_own_browsers(
    make_app: Callable[..., Flask], user: Any, admin: Any
) -> None:
    app = make_app(RATELIMIT_ENABLED="true", RATELIMIT_LOGIN="1/hour")
    body = {"email": user.email, "password": PASSWORD}
    owner, stranger, administrator = Browser(app), Browser(app), Browser(app)
    owner.post("/api/v1/auth/login", body)
    administrator.post("/api/v1/auth/login", {"email": admin.email, "password": PASSWORD})
    for browser in (owner, stranger):
        browser.post("/api/v1/auth/login", body | {"password": "wrong"})
        assert browser.post("/api/v1/auth/login", body).status_code == 429
    assert administrator.post(f"/api/v1/users/{user.id}/unlock").status_code == 204
    for browser in (owner, stranger):
        assert browser.post("/api/v1/auth/login", body).status_code == 200
