"""Which ways of signing in are on, and reauthenticating by a mailed code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from app.extensions import transaction
from app.models import GuessCount, MailToken, OutboxMessage, User
from gatehouse.testing import Mailbox
from gatehouse.testing.factories import PASSWORD, Browser, Factory
from tests.routes.test_guesses import WRONG, count_rows, guess
from tests.routes.test_mail_sign_in import (
    ASK,
    LOGIN,
    ME,
    REGISTER,
    VERIFY,
    ask,
    assert_invalid_token,
    assert_wrong_code,
    change,
    type_code,
    use_link,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flask import Flask

    from gatehouse.testing import Clock

REAUTHENTICATE = "/api/v1/auth/reauthenticate"


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app(SIGN_IN_METHODS="password,mail_link,mail_code", GUESSES_MAX="10", MAILS_PER_HOUR="20")


# --- which methods are on ---


def assert_off(answer: Any) -> None:
    assert (answer.status_code, answer.get_json()["code"]) == (403, "sign_in_method_off")


def test_by_default_nobody_signs_in_by_mail(make_app: Callable[..., Flask]) -> None:
    app = make_app()
    factory = Factory(app)
    browser = factory.sign_in(factory.user())
    for path, body in (
        (ASK, {"email": "ada@example.com"}),
        (VERIFY, {"email": "ada@example.com", "code": "123456"}),
        (REAUTHENTICATE, {"code": "123456"}),
        (f"{REAUTHENTICATE}/mail", None),
    ):
        assert_off(browser.post(path, body))
    assert count_rows(app, OutboxMessage, OutboxMessage.template != "new_device") == 0
    assert count_rows(app, GuessCount) == 0


def test_of_link_and_code_only_what_is_on_is_taken(make_app: Callable[..., Flask]) -> None:
    assert_off(type_code(Browser(make_app(SIGN_IN_METHODS="mail_link")), "ada@example.com", "123456"))
    assert_invalid_token(use_link(Browser(make_app(SIGN_IN_METHODS="mail_code")), "x"))


def test_the_mail_says_what_the_methods_are(make_app: Callable[..., Flask], tmp_path: Path) -> None:
    for methods, has_link, has_code in (
        ("mail_link", True, False),
        ("mail_code", False, True),
        ("mail_link,mail_code", True, True),
    ):
        app = make_app(SIGN_IN_METHODS=methods)
        user, browser, mailbox = Factory(app).user(), Browser(app), Mailbox(app, tmp_path / "mail")
        ask(browser, user.email)
        assert mailbox.deliver() == ["sent"]
        text = mailbox.read_text(user.email)
        assert ("#token=" in text, any(line.strip().isdigit() for line in text.splitlines())) == (has_link, has_code)


def test_the_mail_is_in_the_users_language_or_the_requests(
    factory: Factory, browser: Browser, mailbox: Mailbox
) -> None:
    user = factory.user()
    browser.post(ASK, {"email": user.email}, headers={"Accept-Language": "de"})
    mailbox.deliver()
    assert mailbox.read(user.email)[-1]["Subject"] == "Ihr Link und Ihr Code zum Anmelden"
    factory.sign_in(user).patch(ME, {"language": "en"})
    browser.post(ASK, {"email": user.email}, headers={"Accept-Language": "de"})
    mailbox.deliver()
    assert mailbox.read(user.email)[-1]["Subject"] == "Your link and code for signing in"


def test_without_passwords_one_registers_and_signs_in_by_mail_alone(
    make_app: Callable[..., Flask], tmp_path: Path
) -> None:
    app = make_app(SIGN_IN_METHODS="mail_code")
    browser, mailbox = Browser(app), Mailbox(app, tmp_path / "mail")
    body = {"email": "ada@example.com"}
    refused = browser.post(REGISTER, body | {"password": PASSWORD})
    assert (refused.status_code, list(refused.get_json()["errors"])) == (422, ["password"])
    assert browser.post(REGISTER, body).status_code == 201
    assert_off(browser.post(LOGIN, body | {"password": PASSWORD}))
    assert_off(browser.post(REAUTHENTICATE, {"password": PASSWORD}))
    change_body = {"current_password": PASSWORD, "new_password": f"{PASSWORD} heron"}
    assert_off(browser.post("/api/v1/auth/password/change", change_body))
    elsewhere = Browser(app)
    ask(elsewhere, "ada@example.com")
    mailbox.deliver()
    assert type_code(elsewhere, "ada@example.com", mailbox.find_code("ada@example.com")).status_code == 200


def test_with_passwords_nobody_registers_without_one(browser: Browser) -> None:
    refused = browser.post(REGISTER, {"email": "ada@example.com"})
    assert (refused.status_code, list(refused.get_json()["errors"])) == (422, ["password"])


# --- reauthentication ---


def ask_for_code(browser: Browser, mailbox: Mailbox, email: str) -> str:
    answer = browser.post(f"{REAUTHENTICATE}/mail")
    assert (answer.status_code, answer.get_json()) == (202, {"status": "accepted"})
    assert mailbox.deliver()[-1] == "sent"
    return mailbox.find_code(email)


def test_a_mailed_code_makes_its_session_fresh_again_once(
    app: Flask, factory: Factory, mailbox: Mailbox, clock: Clock
) -> None:
    user = factory.user()
    browser, other = factory.sign_in(user), factory.sign_in(user)
    clock.advance(601)
    assert browser.delete(ME).get_json()["code"] == "reauthentication_required"
    code = ask_for_code(browser, mailbox, user.email)
    assert_wrong_code(other.post(REAUTHENTICATE, {"code": code}))
    assert_wrong_code(type_code(browser, user.email, code))
    former = browser.cookies["session"]
    assert browser.post(REAUTHENTICATE, {"code": code}).status_code == 204
    assert browser.cookies["session"] != former
    assert_wrong_code(browser.post(REAUTHENTICATE, {"code": code}))
    assert other.delete(ME).get_json()["code"] == "reauthentication_required"
    assert browser.delete(ME).status_code in {202, 204}
    assert count_rows(app, MailToken, MailToken.purpose == "reauthentication") == 0


def test_wrong_reauthentication_codes_are_counted(app: Flask, factory: Factory, mailbox: Mailbox) -> None:
    user = factory.user()
    thief = factory.sign_in(user)
    thief.client.delete_cookie("device")
    for _ in range(2):
        code = ask_for_code(thief, mailbox, user.email)
        for _ in range(5):
            assert_wrong_code(thief.post(REAUTHENTICATE, {"code": change(code)}))
    code = ask_for_code(thief, mailbox, user.email)
    for body in ({"code": code}, {"password": PASSWORD}):
        assert thief.post(REAUTHENTICATE, body).get_json()["code"] == "too_many_guesses"
    assert guess(Browser(app), user.email, WRONG).status_code == 429


def test_codes_beyond_the_cap_are_not_mailed_and_void_nothing(make_app: Callable[..., Flask], tmp_path: Path) -> None:
    app = make_app(SIGN_IN_METHODS="password,mail_code", MAILS_PER_HOUR="1")
    user, mailbox = Factory(app).user(), Mailbox(app, tmp_path / "mail")
    browser = Factory(app).sign_in(user)
    code = ask_for_code(browser, mailbox, user.email)
    browser.post(f"{REAUTHENTICATE}/mail")
    assert mailbox.deliver() == ["dropped"]
    assert browser.post(REAUTHENTICATE, {"code": code}).status_code == 204


def test_whoever_has_the_address_by_now_is_mailed_no_code_of_the_one_before(
    app: Flask, factory: Factory, mailbox: Mailbox
) -> None:
    user = factory.user()
    browser = factory.sign_in(user)
    mailbox.deliver()
    browser.post(f"{REAUTHENTICATE}/mail")
    with app.app_context(), transaction() as writing:
        writing.execute(sa.update(User).where(User.id == user.id).values(email="moved@example.com"))
    factory.user(email=user.email)
    assert mailbox.deliver() == ["dropped"]


def test_reauthenticating_takes_a_code_or_a_password(user_browser: Browser) -> None:
    answer = user_browser.post(REAUTHENTICATE, {})
    assert (answer.status_code, list(answer.get_json()["errors"])) == (422, ["code"])
    assert_wrong_code(user_browser.post(REAUTHENTICATE, {"password": PASSWORD, "code": "123456"}))


def test_in_production_the_browsers_cookie_is_bound_to_its_host(make_app: Callable[..., Flask]) -> None:
    app = make_app(SIGN_IN_METHODS="mail_link", SESSION_COOKIE_SECURE="true")
    browser = Browser(app, base_url="https://localhost")
    answer = browser.post(ASK, {"email": "ada@example.com"})
    cookie = next(value for value in answer.headers.getlist("Set-Cookie") if "asking" in value)
    assert cookie.startswith("__Host-asking=")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax", "Max-Age=86400"} <= set(cookie.split("; "))
