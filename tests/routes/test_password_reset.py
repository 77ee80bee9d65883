"""Forgotten passwords: a link by mail, which is used once."""

from __future__ import annotations

import datetime
import uuid
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from app.extensions import db, transaction
from app.models import MailToken, OutboxMessage, User
from app.security import Actor
from app.services import recovery, users
from app.services.outbox import QueuedMail
from gatehouse.testing.factories import PASSWORD, Browser
from gatehouse.testing.mailbox import Mailbox

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flask import Flask
    from werkzeug.test import TestResponse

    from gatehouse.testing.clock import Clock
    from gatehouse.testing.factories import Factory
    from gatehouse.testing.servers.redis import RedisServer

FORGOT = "/api/v1/auth/password/forgot"
RESET = "/api/v1/auth/password/reset"
LOGIN = "/api/v1/auth/login"
ME = "/api/v1/users/me"
NEW = "marble anchor violet thimble"


@pytest.fixture
def link(user: Any, browser: Browser, mailbox: Mailbox) -> str:
    """The token of a link that ``user`` was mailed."""
    return ask(browser, mailbox, user.email)


def ask(browser: Browser, mailbox: Mailbox, email: str) -> str:
    """Return the token of the link that an address is mailed."""
    assert browser.post(FORGOT, {"email": email}).status_code == 202
    mailbox.deliver()
    return mailbox.find_token(email)


def reset(browser: Browser, token: object, password: str = NEW) -> TestResponse:
    """Use a link."""
    return browser.post(RESET, {"token": token, "new_password": password})


def assert_invalid(answer: TestResponse) -> None:
    """Make sure of the one answer to whatever proves nothing."""
    problem = answer.get_json()
    assert (answer.status_code, problem["code"], list(problem["errors"])) == (422, "invalid_token", ["token"])


def can_sign_in(app: Flask, user: Any, password: str) -> bool:
    """Say whether a password is the user's."""
    return Browser(app).post(LOGIN, {"email": user.email, "password": password}).status_code == 200


def test_whoever_forgot_the_password_chooses_a_new_one(app: Flask, user: Any, browser: Browser, link: str) -> None:
    assert reset(browser, link).status_code == 204
    assert can_sign_in(app, user, NEW)
    assert not can_sign_in(app, user, PASSWORD)


def test_asking_answers_the_same_for_an_address_that_nobody_has_and_does_the_same(
    factory: Factory, user: Any, browser: Browser, statements: list[str], admin_browser: Browser
) -> None:
    inactive = factory.user()
    admin_browser.patch(f"/api/v1/users/{inactive.id}", {"is_active": False})
    headers = {"X-CSRF-Token": browser.csrf_token()}
    seen = []
    for email in (user.email, "nobody@example.com", inactive.email, user.email, "nobody@example.com"):
        statements.clear()
        answer = browser.client.post(FORGOT, json={"email": email}, headers=headers)
        told = {name: value for name, value in answer.headers if name not in {"X-Request-ID", "Date"}}
        seen.append((answer.status_code, answer.get_json(), told, [each.split()[:3] for each in statements]))
    assert seen[0][0] == 202
    assert seen[0][3] == [["INSERT", "INTO", "outbox"]]
    assert all(each == seen[0] for each in seen)


def test_nobody_is_mailed_at_an_address_that_nobody_has_or_whose_account_is_inactive(
    factory: Factory, browser: Browser, mailbox: Mailbox, admin_browser: Browser
) -> None:
    inactive = factory.user()
    admin_browser.patch(f"/api/v1/users/{inactive.id}", {"is_active": False})
    mailbox.deliver()
    before = len(mailbox.read())
    for email in ("nobody@example.com", inactive.email):
        browser.post(FORGOT, {"email": email})
    assert mailbox.deliver() == ["dropped", "dropped"]
    assert len(mailbox.read()) == before


def test_an_address_in_other_letters_finds_the_account_and_the_mail_goes_to_the_stored_one(
    user: Any, browser: Browser, mailbox: Mailbox
) -> None:
    browser.post(FORGOT, {"email": user.email.upper()})
    mailbox.deliver()
    assert [mail["To"] for mail in mailbox.read(user.email)] == [user.email]


def test_every_session_ends_and_the_browser_that_used_the_link_is_known(
    app: Flask, user: Any, user_browser: Browser, mailbox: Mailbox
) -> None:
    browser = Browser(app)
    assert reset(browser, ask(browser, mailbox, user.email)).status_code == 204
    assert user_browser.get(ME).status_code == 401
    mailbox.deliver()
    before = len(mailbox.read(user.email))
    assert browser.post(LOGIN, {"email": user.email, "password": NEW}).status_code == 200
    mailbox.deliver()
    assert len(mailbox.read(user.email)) == before, "no notice of a new device"


def test_the_owner_is_told_of_the_new_password(user: Any, browser: Browser, link: str, mailbox: Mailbox) -> None:
    reset(browser, link)
    mailbox.deliver()
    assert mailbox.read(user.email)[-1]["Subject"] == "Your password was changed"


def test_a_used_link_proves_the_address(app: Flask, user: Any, browser: Browser, link: str) -> None:
    reset(browser, link)
    with app.app_context():
        stored = db.session.get_one(User, user.id)
        assert stored.email_verified_at is not None


@pytest.mark.parametrize("token", ["", "x", "x" * 43, None, 5, [], {}, ["x"], True, "\ud800", "\0", "é" * 5000])
def test_whatever_is_no_link_of_ours_gets_one_answer(browser: Browser, link: str, token: object) -> None:
    del link
    assert_invalid(reset(browser, token))


def test_a_link_works_once(app: Flask, user: Any, browser: Browser, link: str) -> None:
    assert reset(browser, link).status_code == 204
    assert_invalid(reset(browser, link, "another turnip gravel thing"))
    assert can_sign_in(app, user, NEW)


def test_a_link_runs_out_an_hour_after_it_was_asked_for(
    user: Any, browser: Browser, mailbox: Mailbox, clock: Clock
) -> None:
    browser.post(FORGOT, {"email": user.email})
    clock.advance(3000)
    mailbox.deliver()
    token = mailbox.find_token(user.email)
    clock.advance(599)
    assert reset(browser, token, "short").get_json()["code"] == "weak_password"
    clock.advance(1)
    assert_invalid(reset(browser, token))


def test_a_request_that_waited_for_as_long_as_its_link_would_work_mails_nothing(
    user: Any, browser: Browser, mailbox: Mailbox, clock: Clock
) -> None:
    browser.post(FORGOT, {"email": user.email})
    clock.advance(3600)
    assert mailbox.deliver() == ["dropped"]


def test_a_weak_password_does_not_use_the_link_up(app: Flask, user: Any, browser: Browser, link: str) -> None:
    for weak in ("short", "passwordpassword", user.email):
        answer = reset(browser, link, weak)
        assert (answer.status_code, answer.get_json()["code"]) == (422, "weak_password")
        assert list(answer.get_json()["errors"]) == ["new_password"]
    assert reset(browser, link).status_code == 204
    assert can_sign_in(app, user, NEW)


def test_a_link_for_something_else_resets_no_password(
    app: Flask, user: Any, user_browser: Browser, mailbox: Mailbox
) -> None:
    user_browser.post("/api/v1/auth/email/change", {"new_email": "new@example.com"})
    user_browser.post("/api/v1/auth/password/change", {"current_password": PASSWORD, "new_password": NEW})
    mailbox.deliver()
    for password in (NEW, "short"):
        assert_invalid(reset(Browser(app), mailbox.find_token(user.email), password))


def change_password(_app: Flask, _user: Any, signed_in: Browser, _admin: Browser) -> None:
    body = {"current_password": PASSWORD, "new_password": "another turnip gravel thing"}
    assert signed_in.post("/api/v1/auth/password/change", body).status_code == 204


def sign_in_later(app: Flask, user: Any, _signed_in: Browser, _admin: Browser) -> None:
    assert can_sign_in(app, user, PASSWORD)


def deactivate_and_activate(_app: Flask, user: Any, _signed_in: Browser, admin: Browser) -> None:
    for is_active in (False, True):
        assert admin.patch(f"/api/v1/users/{user.id}", {"is_active": is_active}).status_code == 200


def deactivate(_app: Flask, user: Any, _signed_in: Browser, admin: Browser) -> None:
    assert admin.patch(f"/api/v1/users/{user.id}", {"is_active": False}).status_code == 200


def be_given_a_password(app: Flask, user: Any, _signed_in: Browser, _admin: Browser) -> None:
    with app.app_context():
        users.reset_password(user.id, password=None, actor=Actor.system())


def have_another_address(app: Flask, user: Any, _signed_in: Browser, _admin: Browser) -> None:
    # As no call of ours does it, which would void the link besides.
    with app.app_context(), transaction() as writing:
        writing.execute(sa.update(User).where(User.id == user.id).values(email="other@example.com"))


def be_deleted(_app: Flask, user: Any, _signed_in: Browser, admin: Browser) -> None:
    assert admin.delete(f"/api/v1/users/{user.id}").status_code == 204


@pytest.mark.parametrize(
    "happen",
    [
        change_password,
        sign_in_later,
        deactivate,
        deactivate_and_activate,
        be_given_a_password,
        have_another_address,
        be_deleted,
    ],
)
def test_a_link_is_void_once_the_account_changed_or_its_owner_got_in_without_it(
    app: Flask,
    user: Any,
    user_browser: Browser,
    admin_browser: Browser,
    mailbox: Mailbox,
    happen: Callable[[Flask, Any, Browser, Browser], None],
) -> None:
    token = ask(Browser(app), mailbox, user.email)
    happen(app, user, user_browser, admin_browser)
    assert_invalid(reset(Browser(app), token))


def test_a_newer_link_voids_the_former(app: Flask, user: Any, browser: Browser, mailbox: Mailbox, link: str) -> None:
    newer = ask(browser, mailbox, user.email)
    assert_invalid(reset(browser, link))
    assert reset(browser, newer).status_code == 204
    assert can_sign_in(app, user, NEW)


def test_requests_past_the_cap_of_mails_leave_the_newest_link_that_went_out_of_use(
    user: Any, browser: Browser, mailbox: Mailbox
) -> None:
    tokens = [ask(browser, mailbox, user.email) for _ in range(5)]
    # The sixth is answered like the others, and not sent.
    assert browser.post(FORGOT, {"email": user.email}).status_code == 202
    assert mailbox.deliver() == ["dropped"]
    assert_invalid(reset(browser, tokens[3]))
    assert reset(browser, tokens[4]).status_code == 204


def test_a_request_that_is_prepared_after_a_newer_one_makes_no_link(app: Flask, user: Any, clock: Clock) -> None:
    instants = [clock.now(), clock.now() - datetime.timedelta(seconds=1)]
    with app.app_context():
        made = []
        for instant in instants:
            mail = QueuedMail(uuid.uuid4(), user.email, None, instant, {})
            with transaction():
                made.append(recovery.prepare_reset_password(mail))
        assert [prepared is not None for prepared in made] == [True, False]


@pytest.mark.parametrize(
    ("settings", "guesses"),
    [
        ({"RATELIMIT_ENABLED": "true", "RATELIMIT_LOGIN": "3/hour"}, 3),
        ({"RATELIMIT_ENABLED": "true", "RATELIMIT_LOGIN": "100/minute", "GUESSES_MAX": "10"}, 10),
    ],
)
def test_a_link_works_while_guesses_are_refused_and_ends_that(
    make_app: Callable[..., Flask], user: Any, tmp_path: Path, settings: dict[str, str], guesses: int
) -> None:
    app = make_app(**settings)
    mailbox = Mailbox(app, tmp_path / "mail")
    browser, stranger = Browser(app), Browser(app)
    for _ in range(guesses):
        assert stranger.post(LOGIN, {"email": user.email, "password": "wrong"}).status_code == 401
    assert stranger.post(LOGIN, {"email": user.email, "password": PASSWORD}).status_code == 429
    assert reset(browser, ask(browser, mailbox, user.email)).status_code == 204
    assert stranger.post(LOGIN, {"email": user.email, "password": NEW}).status_code == 200


def test_a_password_is_reset_while_the_store_of_the_limiter_is_away(
    make_app: Callable[..., Flask], user: Any, tmp_path: Path, limiter_store: RedisServer
) -> None:
    app = make_app(RATELIMIT_ENABLED="true", RATELIMIT_STORAGE_URI=limiter_store.url)
    browser = Browser(app)
    token = ask(browser, Mailbox(app, tmp_path / "mail"), user.email)
    limiter_store.kill()
    assert reset(browser, token).status_code == 204
    assert can_sign_in(app, user, NEW)


def test_asking_and_using_are_limited_by_address_and_only_wrong_links_count(
    make_app: Callable[..., Flask], user: Any, tmp_path: Path
) -> None:
    app = make_app(RATELIMIT_ENABLED="true", RATELIMIT_MAIL="2/hour", RATELIMIT_TOKEN="2/hour")
    browser = Browser(app)
    token = ask(browser, Mailbox(app, tmp_path / "mail"), user.email)
    # Without a CSRF token, as another site's page would send it, it counts for nothing.
    assert browser.client.post(FORGOT, json={"email": user.email}).status_code == 403
    asked = [browser.post(FORGOT, {"email": f"nobody{number}@example.com"}).status_code for number in range(2)]
    assert asked == [202, 429]
    used = [reset(browser, token, "short").status_code for _ in range(3)]
    used += [reset(browser, "x" * 43).status_code for _ in range(3)]
    assert used == [422] * 5 + [429]


def test_a_link_that_a_scanner_opens_is_not_used_up(app: Flask, user: Any, browser: Browser, link: str) -> None:
    for method in ("GET", "HEAD", "OPTIONS"):
        browser.client.open(RESET, method=method, query_string={"token": link})
    assert reset(browser, link).status_code == 204
    assert can_sign_in(app, user, NEW)


def test_nothing_that_is_stored_shows_the_link(app: Flask, link: str) -> None:
    with app.app_context():
        for table in (MailToken.__table__, OutboxMessage.__table__):
            assert link not in str(db.session.execute(sa.select(table)).all())


def test_where_nobody_signs_in_by_a_password_none_is_reset_or_required(
    make_app: Callable[..., Flask], factory: Factory, user: Any, admin: Any, tmp_path: Path
) -> None:
    admin_browser = factory.sign_in(admin)
    app = make_app(SIGN_IN_METHODS="mail_link")
    administrator = Browser(app)
    administrator.client.set_cookie("session", admin_browser.cookies["session"])
    answers = [
        Browser(app).post(FORGOT, {"email": user.email}),
        reset(Browser(app), "x" * 43),
        administrator.post(f"/api/v1/users/{user.id}/password-reset"),
        administrator.patch(f"/api/v1/users/{user.id}", {"password_change_required": True}),
    ]
    assert [(answer.status_code, answer.get_json()["code"]) for answer in answers] == [(403, "sign_in_method_off")] * 4
    # "This was not me" works all the same; its owner signs in by mail then.
    factory.sign_in(user)
    mailbox = Mailbox(app, tmp_path / "mail")
    mailbox.deliver()
    assert Browser(app).post("/api/v1/auth/not-me", {"token": mailbox.find_token(user.email)}).status_code == 204
    assert mailbox.deliver() == []


# --- sent by an administrator ---


def test_an_administrator_has_a_link_mailed_past_the_cap_of_what_strangers_ask_for(
    app: Flask, user: Any, browser: Browser, admin_browser: Browser, mailbox: Mailbox
) -> None:
    for _ in range(5):
        browser.post(FORGOT, {"email": user.email})
    answer = admin_browser.post(f"/api/v1/users/{user.id}/password-reset")
    assert (answer.status_code, answer.get_json()) == (202, {"status": "accepted"})
    assert mailbox.deliver()[-1] == "sent"
    assert reset(browser, mailbox.find_token(user.email)).status_code == 204
    assert can_sign_in(app, user, NEW)


def test_only_whoever_may_change_users_and_outranks_them_has_a_link_mailed(
    factory: Factory, user: Any, admin: Any, admin_browser: Browser, user_browser: Browser
) -> None:
    clerk = factory.sign_in_with("users:write")
    path = "/api/v1/users/{}/password-reset"
    unknown = "01a205ce-9fce-72c0-a45e-35cac95071fb"
    answers = [
        clerk.post(path.format(user.id)),
        clerk.post(path.format(admin.id)),
        user_browser.post(path.format(user.id)),
        admin_browser.post(path.format(unknown)),
    ]
    assert [(answer.status_code, answer.get_json().get("code")) for answer in answers] == [
        (202, None),
        (403, "target_outranks_actor"),
        (403, "permission_missing"),
        (404, "user_not_found"),
    ]
