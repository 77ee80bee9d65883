"""Signing in by a mailed link or code, and reauthenticating by a code."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from app.extensions import db, transaction
from app.models import GuessCount, MailToken, OutboxMessage, Session, User
from app.security import Actor
from app.services import users
from gatehouse.testing import Mailbox
from gatehouse.testing.factories import PASSWORD, Browser, Factory
from tests.routes.test_guesses import count_rows, guess, prepare_post, run_at_once

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flask import Flask

    from gatehouse.testing import Clock

ASK = "/api/v1/auth/mail-sign-in"
VERIFY = f"{ASK}/verify"
LOGIN = "/api/v1/auth/login"
REGISTER = "/api/v1/auth/register"
ME = "/api/v1/users/me"


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app(SIGN_IN_METHODS="password,mail_link,mail_code", GUESSES_MAX="10", MAILS_PER_HOUR="20")


def ask(browser: Browser, email: str) -> None:
    answer = browser.post(ASK, {"email": email})
    assert (answer.status_code, answer.get_json()) == (202, {"status": "accepted"})


def ask_and_read(browser: Browser, mailbox: Mailbox, email: str) -> tuple[str, str]:
    """Ask to be signed in by mail; return the mailed token and code."""
    ask(browser, email)
    assert mailbox.deliver()[-1] == "sent"
    return mailbox.find_token(email), mailbox.find_code(email)


def use_link(browser: Browser, token: object) -> Any:
    return browser.post(VERIFY, {"token": token})


def type_code(browser: Browser, email: str, code: str) -> Any:
    return browser.post(VERIFY, {"email": email, "code": code})


def change(code: str) -> str:
    """Return another code."""
    return f"{(int(code) + 1) % 1_000_000:06}"


def assert_invalid_token(answer: Any) -> None:
    assert (answer.status_code, answer.get_json()["code"]) == (422, "invalid_token")


def assert_wrong_code(answer: Any) -> None:
    assert (answer.status_code, answer.get_json()["code"]) == (401, "invalid_credentials")


def verify_address(app: Flask, user: Any) -> None:
    with app.app_context(), transaction() as writing:
        writing.execute(sa.update(User).where(User.id == user.id).values(email_verified_at=user.created_at))


# --- asking ---


def test_a_link_signs_in_once_in_the_browser_that_asked(
    app: Flask, user: Any, browser: Browser, mailbox: Mailbox
) -> None:
    token, _ = ask_and_read(browser, mailbox, user.email)
    for other in (Browser(app), Browser(app)):
        ask(other, "nobody@example.com")
        assert_invalid_token(use_link(other, token))
    assert_invalid_token(use_link(Browser(app), token))
    signed_in = use_link(browser, token)
    assert signed_in.status_code == 200
    assert signed_in.get_json()["user"]["email"] == user.email
    assert signed_in.get_json()["user"]["email_verified_at"] is not None
    assert signed_in.get_json()["user"]["last_login_at"] is not None
    assert browser.get(ME).status_code == 200
    assert "device" in browser.cookies
    assert "asking" not in browser.cookies
    assert_invalid_token(use_link(browser, token))


def test_a_code_signs_in_once_in_the_browser_that_asked(
    app: Flask, user: Any, browser: Browser, mailbox: Mailbox
) -> None:
    _, code = ask_and_read(browser, mailbox, user.email)
    assert_wrong_code(type_code(Browser(app), user.email, code))
    signed_in = browser.post(VERIFY, {"email": user.email.upper(), "code": code, "remember": True})
    assert signed_in.status_code == 200
    assert signed_in.get_json()["csrf_token"]
    assert browser.get(ME).status_code == 200
    with app.app_context():
        assert db.session.scalars(sa.select(Session.is_remembered)).all() == [True]
    assert_wrong_code(type_code(browser, user.email, code))


def test_whoever_asks_learns_nothing(
    app: Flask, factory: Factory, admin_browser: Browser, statements: list[str], mailbox: Mailbox
) -> None:
    known, inactive = factory.user(), factory.user()
    admin_browser.patch(f"/api/v1/users/{inactive.id}", {"is_active": False})
    answers = []
    for email in (known.email, "nobody@example.com", inactive.email):
        browser = Browser(app)
        headers = {"X-CSRF-Token": browser.csrf_token()}
        statements.clear()
        answer = browser.client.post(ASK, json={"email": email}, headers=headers)
        left_out = {"X-Request-ID", "Date"}
        told = {name: value for name, value in answer.headers if name not in left_out}
        assert told.pop("Set-Cookie").startswith("asking=")
        answers.append((answer.status_code, answer.data, told, list(statements)))
    assert answers[1:] == answers[:1] * 2
    assert len(answers[0][3]) == 1
    assert mailbox.deliver()[-3:] == ["sent", "dropped", "dropped"]


def test_a_stranger_who_asks_too_voids_nothing_of_the_owners(
    app: Flask, user: Any, browser: Browser, mailbox: Mailbox
) -> None:
    token, _ = ask_and_read(browser, mailbox, user.email)
    stranger = Browser(app)
    _, theirs = ask_and_read(stranger, mailbox, user.email)
    # What was mailed for the stranger's browser is of no use in the owner's, and the other way round.
    assert_wrong_code(type_code(browser, user.email, theirs))
    assert_invalid_token(use_link(stranger, token))
    assert use_link(browser, token).status_code == 200


def test_the_newest_of_a_browser_alone_counts(user: Any, browser: Browser, mailbox: Mailbox) -> None:
    token, code = ask_and_read(browser, mailbox, user.email)
    newer, newer_code = ask_and_read(browser, mailbox, user.email)
    assert_invalid_token(use_link(browser, token))
    if code != newer_code:
        assert_wrong_code(type_code(browser, user.email, code))
    assert use_link(browser, newer).status_code == 200


def test_mails_beyond_the_cap_are_not_sent_and_void_nothing(make_app: Callable[..., Flask], tmp_path: Path) -> None:
    app = make_app(SIGN_IN_METHODS="mail_link", MAILS_PER_HOUR="2")
    user, browser, mailbox = Factory(app).user(), Browser(app), Mailbox(app, tmp_path / "mail")
    for _ in range(4):
        ask(browser, user.email)
    assert Counter(mailbox.deliver()) == {"sent": 2, "dropped": 2}
    assert use_link(browser, mailbox.find_token(user.email)).status_code == 200


def test_what_is_mailed_runs_out(user: Any, browser: Browser, mailbox: Mailbox, clock: Clock) -> None:
    token, code = ask_and_read(browser, mailbox, user.email)
    clock.advance(15 * 60)
    assert_invalid_token(use_link(browser, token))
    assert_wrong_code(type_code(browser, user.email, code))
    token, _ = ask_and_read(browser, mailbox, user.email)
    clock.advance(15 * 60 - 1)
    assert use_link(browser, token).status_code == 200


def test_a_link_for_something_else_signs_nobody_in(user: Any, browser: Browser, mailbox: Mailbox) -> None:
    for path in ("password/forgot", "email/verify/resend"):
        browser.post(f"/api/v1/auth/{path}", {"email": user.email})
        mailbox.deliver()
        assert_invalid_token(use_link(browser, mailbox.find_token(user.email)))


def test_neither_link_nor_code_is_stored(app: Flask, user: Any, browser: Browser, mailbox: Mailbox) -> None:
    token, code = ask_and_read(browser, mailbox, user.email)
    with app.app_context():
        rows = list(db.session.execute(sa.select(MailToken.__table__)))
        mails = list(db.session.execute(sa.select(OutboxMessage.__table__)))
    stored = str([*rows, *mails])
    assert token not in stored
    assert code not in str([value for row in rows for value in row if isinstance(value, str)])
    assert browser.cookies["asking"] not in stored


# --- proving ---


@pytest.mark.parametrize("token", ["", "x", None, 5, ["a"], {"a": 1}, "é" * 3000])
def test_what_is_no_token_gets_the_one_answer(browser: Browser, token: object) -> None:
    assert_invalid_token(use_link(browser, token))


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "token"),
        ({"email": "ada@example.com"}, "code"),
        ({"code": "123456"}, "email"),
        ({"email": "ada@example.com", "code": "12345"}, "code"),
        ({"email": "ada@example.com", "code": "١٢٣٤٥٦"}, "code"),
        ({"email": "ada@example.com", "code": 123456}, "code"),
    ],
)
def test_a_body_that_is_neither_names_the_field(app: Flask, browser: Browser, body: Any, field: str) -> None:
    answer = browser.post(VERIFY, body)
    assert answer.status_code == 422
    assert list(answer.get_json()["errors"]) == [field]
    assert count_rows(app, GuessCount) == 0


def test_of_many_who_use_one_link_at_once_one_signs_in(
    app: Flask, user: Any, browser: Browser, mailbox: Mailbox
) -> None:
    token, _ = ask_and_read(browser, mailbox, user.email)
    answers = run_at_once([prepare_post(copy_browser(browser), VERIFY, {"token": token}) for _ in range(20)])
    assert Counter(answer.status_code for answer in answers) == {200: 1, 422: 19}
    assert count_rows(app, Session) == 1


def copy_browser(browser: Browser) -> Browser:
    """Return a browser with the same cookie for signing in by mail."""
    copy = Browser(browser.app)
    copy.client.set_cookie("asking", browser.cookies["asking"])
    return copy


def test_a_link_signs_in_when_no_guess_is_answered_and_begins_anew(
    app: Flask, user: Any, browser: Browser, mailbox: Mailbox
) -> None:
    for _ in range(11):
        guess(Browser(app), user.email)
    assert guess(Browser(app), user.email, PASSWORD).status_code == 429
    token, _ = ask_and_read(browser, mailbox, user.email)
    assert use_link(browser, token).status_code == 200
    assert guess(Browser(app), user.email).status_code == 401


def test_asking_is_limited_by_address(make_app: Callable[..., Flask]) -> None:
    browser = Browser(make_app(SIGN_IN_METHODS="mail_link", RATELIMIT_ENABLED="true", RATELIMIT_MAIL="3/hour"))
    statuses = [browser.post(ASK, {"email": f"a{number}@example.com"}).status_code for number in range(4)]
    assert statuses == [202] * 3 + [429]


def test_a_squatter_loses_the_account_when_the_owner_of_its_address_signs_in_by_mail(
    app: Flask, browser: Browser, mailbox: Mailbox
) -> None:
    squatter = Browser(app)
    body = {"email": "ada@example.com", "password": PASSWORD}
    assert squatter.post(REGISTER, body).status_code == 201
    token, _ = ask_and_read(browser, mailbox, "ada@example.com")
    assert use_link(browser, token).status_code == 200
    assert squatter.get(ME).status_code == 401
    assert squatter.post(LOGIN, body).status_code == 401
    assert browser.get(ME).status_code == 200
    # The owner may want a password.
    mailbox.deliver()
    is_sent = (OutboxMessage.template == "set_password", OutboxMessage.state == "sent")
    assert count_rows(app, OutboxMessage, *is_sent) == 1


def test_the_owner_is_told_of_a_sign_in_by_mail_from_a_browser_that_is_not_known(
    app: Flask, factory: Factory, mailbox: Mailbox
) -> None:
    user = factory.user()
    verify_address(app, user)
    browser = Browser(app)
    for is_told in (True, False):
        token, _ = ask_and_read(browser, mailbox, user.email)
        assert use_link(browser, token).status_code == 200
        assert mailbox.deliver() == ["sent"] * is_told
    assert count_rows(app, OutboxMessage, OutboxMessage.template == "new_device") == 1


def test_whoever_verified_the_address_before_keeps_password_and_sessions(
    app: Flask, factory: Factory, browser: Browser, mailbox: Mailbox
) -> None:
    user = factory.user()
    verify_address(app, user)
    elsewhere = factory.sign_in(user)
    token, _ = ask_and_read(browser, mailbox, user.email)
    assert use_link(browser, token).status_code == 200
    assert elsewhere.get(ME).status_code == 200
    assert guess(Browser(app), user.email, PASSWORD).status_code == 200


def test_the_session_that_was_there_before_ends(app: Flask, factory: Factory, mailbox: Mailbox) -> None:
    user = factory.user()
    browser = factory.sign_in(user)
    former = browser.cookies["session"]
    token, _ = ask_and_read(browser, mailbox, user.email)
    assert use_link(browser, token).status_code == 200
    thief = Browser(app)
    thief.client.set_cookie("session", former)
    assert thief.get(ME).status_code == 401
    # The own session proved the address, so that its password stays.
    assert guess(Browser(app), user.email, PASSWORD).status_code == 200


@pytest.mark.parametrize("how", ["deactivate", "delete"])
def test_whoever_may_not_sign_in_any_more_does_not(
    app: Flask, factory: Factory, browser: Browser, mailbox: Mailbox, how: str
) -> None:
    user = factory.user()
    token, code = ask_and_read(browser, mailbox, user.email)
    with app.app_context():
        if how == "delete":
            users.delete_user(user.id, actor=Actor.system())
        else:
            users.update_user(user.id, changes={"is_active": False}, actor=Actor.system())
    assert_invalid_token(use_link(browser, token))
    assert_wrong_code(type_code(browser, user.email, code))
