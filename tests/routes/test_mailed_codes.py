"""Mailed codes of six digits: few tries, and each wrong one is counted."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from app.extensions import db
from app.models import GuessCount, MailToken, Session
from gatehouse.testing import Mailbox
from gatehouse.testing.factories import PASSWORD, Browser, Factory
from tests.routes.test_guesses import count_rows, guess, prepare_post, run_at_once
from tests.routes.test_mail_sign_in import (
    VERIFY,
    ask,
    ask_and_read,
    assert_wrong_code,
    change,
    copy_browser,
    type_code,
    use_link,
    verify_address,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from flask import Flask


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app(SIGN_IN_METHODS="password,mail_link,mail_code", GUESSES_MAX="10", MAILS_PER_HOUR="20")


def test_of_many_who_type_one_code_at_once_one_signs_in(
    app: Flask, user: Any, browser: Browser, mailbox: Mailbox
) -> None:
    _, code = ask_and_read(browser, mailbox, user.email)
    body = {"email": user.email, "code": code}
    answers = run_at_once([prepare_post(copy_browser(browser), VERIFY, body) for _ in range(10)])
    assert Counter(answer.status_code for answer in answers) == {200: 1, 401: 9}
    assert count_rows(app, Session) == 1


def test_five_wrong_tries_end_a_code_and_not_the_link(user: Any, browser: Browser, mailbox: Mailbox) -> None:
    token, code = ask_and_read(browser, mailbox, user.email)
    for _ in range(5):
        assert_wrong_code(type_code(browser, user.email, change(code)))
    assert_wrong_code(type_code(browser, user.email, code))
    assert use_link(browser, token).status_code == 200


def test_strangers_use_up_none_of_the_tries_of_the_browser_that_asked(
    app: Flask, user: Any, browser: Browser, mailbox: Mailbox
) -> None:
    _, code = ask_and_read(browser, mailbox, user.email)
    stranger = Browser(app)
    ask(stranger, "nobody@example.com")
    for other in (stranger, Browser(app)):
        for _ in range(4):
            assert_wrong_code(type_code(other, user.email, change(code)))
    assert type_code(browser, user.email, code).status_code == 200


def test_of_many_wrong_codes_at_once_five_are_tried(app: Flask, user: Any, browser: Browser, mailbox: Mailbox) -> None:
    _, code = ask_and_read(browser, mailbox, user.email)
    body = {"email": user.email, "code": change(code)}
    answers = run_at_once([prepare_post(copy_browser(browser), VERIFY, body) for _ in range(8)])
    assert {answer.status_code for answer in answers} == {401}
    with app.app_context():
        assert db.session.scalars(sa.select(MailToken.tries_left)).all() == [0]
    assert_wrong_code(type_code(browser, user.email, code))


def test_a_wrong_code_costs_the_same_whether_or_not_there_is_an_account(
    app: Flask, user: Any, mailbox: Mailbox, statements: list[str]
) -> None:
    answers = []
    for email in (user.email, "nobody@example.com"):
        browser = Browser(app)
        ask(browser, email)
        mailbox.deliver()
        wrong = change(mailbox.find_code(email)) if email == user.email else "123456"
        headers = {"X-CSRF-Token": browser.csrf_token()}
        statements.clear()
        answer = browser.client.post(VERIFY, json={"email": email, "code": wrong}, headers=headers)
        problem = answer.get_json()
        del problem["request_id"]
        answers.append((answer.status_code, problem, list(statements)))
    assert answers[0] == answers[1]
    assert answers[0][0] == 401


def test_wrong_codes_count_as_wrong_passwords_and_a_code_still_signs_in_when_passwords_are_not_answered(
    app: Flask, user: Any, browser: Browser, mailbox: Mailbox
) -> None:
    _, code = ask_and_read(browser, mailbox, user.email)
    for _ in range(4):
        assert_wrong_code(type_code(browser, user.email, change(code)))
    statuses = [guess(Browser(app), user.email).status_code for _ in range(7)]
    assert statuses == [401] * 6 + [429]
    assert type_code(browser, user.email, code).status_code == 200
    # Then everything begins anew.
    assert count_rows(app, GuessCount) == 0
    assert guess(Browser(app), user.email, PASSWORD).status_code == 401  # that was set before the address was proved


def test_too_many_wrong_codes_in_a_row_stop_codes_and_neither_links_nor_known_browsers(
    app: Flask, factory: Factory, mailbox: Mailbox
) -> None:
    user = factory.user()
    verify_address(app, user)
    known, stranger, owner = factory.sign_in(user), Browser(app), Browser(app)
    token, _ = ask_and_read(owner, mailbox, user.email)
    for _ in range(2):
        _, code = ask_and_read(stranger, mailbox, user.email)
        for _ in range(5):
            assert_wrong_code(type_code(stranger, user.email, change(code)))
    _, code = ask_and_read(stranger, mailbox, user.email)
    for tried in (change(code), code):
        assert type_code(stranger, user.email, tried).get_json()["code"] == "too_many_guesses"
    known.post("/api/v1/auth/logout")
    _, code = ask_and_read(known, mailbox, user.email)
    assert_wrong_code(type_code(known, user.email, change(code)))
    assert use_link(owner, token).status_code == 200
    assert type_code(known, user.email, code).status_code == 200


def test_guesses_at_codes_are_limited_by_account_and_tokens_by_address_alone(
    make_app: Callable[..., Flask], tmp_path: Path
) -> None:
    app = make_app(
        SIGN_IN_METHODS="password,mail_link,mail_code",
        RATELIMIT_ENABLED="true",
        RATELIMIT_LOGIN="3/hour",
        RATELIMIT_TOKEN="5/hour",
    )
    user, browser = Factory(app).user(), Browser(app)
    ask(browser, user.email)
    Mailbox(app, tmp_path / "mail").deliver()
    assert [type_code(browser, user.email, "000000").status_code for _ in range(2)] == [401] * 2
    assert [guess(browser, user.email).status_code for _ in range(2)] == [401, 429]
    assert type_code(browser, user.email, "000000").get_json()["code"] == "rate_limited"
    assert [use_link(browser, "x").status_code for _ in range(6)] == [422] * 5 + [429]
    # What names an account is no use of a token, and the other way round.
    assert type_code(browser, "bob@example.com", "000000").status_code == 401
