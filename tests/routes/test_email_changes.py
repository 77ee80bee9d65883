"""An account takes another address once the link is used that was mailed there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from app.extensions import db, transaction
from app.models import MailToken, User
from gatehouse.testing.factories import PASSWORD, Browser, Factory
from gatehouse.testing.mailbox import Mailbox

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask
    from werkzeug.test import TestResponse

    from gatehouse.testing.clock import Clock

CHANGE = "/api/v1/auth/email/change"
VERIFY = "/api/v1/auth/email/verify"
LOGIN = "/api/v1/auth/login"
ME = "/api/v1/users/me"
NEW_EMAIL = "new@example.com"


@pytest.fixture
def link(user_browser: Browser, mailbox: Mailbox) -> str:
    """The token of a link with which ``user`` takes ``NEW_EMAIL``."""
    return ask(user_browser, mailbox)


def ask(browser: Browser, mailbox: Mailbox, email: str = NEW_EMAIL) -> str:
    """Return the token of the link that a new address is mailed."""
    assert browser.post(CHANGE, {"new_email": email}).status_code == 202
    mailbox.deliver()
    return mailbox.find_token(email)


def assert_invalid(answer: TestResponse) -> None:
    """Make sure of the one answer to whatever proves nothing."""
    assert (answer.status_code, answer.get_json()["code"]) == (422, "invalid_token")


def find_email(app: Flask, user: Any) -> str:
    """Return the address that a user has now."""
    with app.app_context():
        return db.session.get_one(User, user.id).email


def test_a_user_takes_another_address(app: Flask, user: Any, user_browser: Browser, mailbox: Mailbox) -> None:
    assert user_browser.post(CHANGE, {"new_email": "New@Example.com"}).status_code == 202
    mailbox.deliver()
    assert user_browser.get(ME).get_json()["email"] == user.email, "nothing happens before the link is used"
    assert user_browser.post(VERIFY, {"token": mailbox.find_token(NEW_EMAIL)}).status_code == 204
    me = user_browser.get(ME).get_json()
    assert (me["email"], me["email_verified_at"] is not None) == (NEW_EMAIL, True)
    assert Browser(app).post(LOGIN, {"email": NEW_EMAIL, "password": PASSWORD}).status_code == 200
    assert Browser(app).post(LOGIN, {"email": user.email, "password": PASSWORD}).status_code == 401


def test_the_user_is_found_by_the_new_address(
    user: Any, user_browser: Browser, admin_browser: Browser, link: str
) -> None:
    user_browser.post(VERIFY, {"token": link})
    found = admin_browser.get("/api/v1/users?q=new").get_json()["items"]
    assert [each["id"] for each in found] == [str(user.id)]


def test_the_former_address_is_told_of_the_new_one(
    user: Any, user_browser: Browser, link: str, mailbox: Mailbox
) -> None:
    user_browser.post(VERIFY, {"token": link})
    mailbox.deliver()
    assert mailbox.read(user.email)[-1]["Subject"] == "Your e-mail address was changed"
    assert NEW_EMAIL in mailbox.read_text(user.email)


def test_the_sessions_end_but_the_one_that_used_the_link(
    factory: Factory, user: Any, user_browser: Browser, link: str
) -> None:
    other = factory.sign_in(user)
    assert user_browser.post(VERIFY, {"token": link}).status_code == 204
    assert [browser.get(ME).status_code for browser in (user_browser, other)] == [200, 401]


def test_a_browser_without_a_session_uses_the_link_too_and_every_session_ends(
    app: Flask, user_browser: Browser, link: str
) -> None:
    assert Browser(app).post(VERIFY, {"token": link}).status_code == 204
    assert user_browser.get(ME).status_code == 401


def test_the_session_of_another_user_that_uses_the_link_stays(
    app: Flask, user: Any, admin_browser: Browser, link: str
) -> None:
    assert admin_browser.post(VERIFY, {"token": link}).status_code == 204
    assert admin_browser.get(ME).status_code == 200
    assert find_email(app, user) == NEW_EMAIL


def test_the_browser_that_used_the_link_is_known_by_the_new_address(
    user_browser: Browser, link: str, mailbox: Mailbox
) -> None:
    user_browser.post(VERIFY, {"token": link})
    mailbox.deliver()
    before = len(mailbox.read(NEW_EMAIL))
    assert user_browser.post(LOGIN, {"email": NEW_EMAIL, "password": PASSWORD}).status_code == 200
    mailbox.deliver()
    assert len(mailbox.read(NEW_EMAIL)) == before


def test_it_needs_the_password_given_lately(user_browser: Browser, clock: Clock) -> None:
    clock.advance(601)
    answer = user_browser.post(CHANGE, {"new_email": NEW_EMAIL})
    assert (answer.status_code, answer.get_json()["code"]) == (403, "reauthentication_required")


def test_the_answer_and_the_work_are_the_same_where_another_account_has_the_address(
    factory: Factory, user: Any, user_browser: Browser, statements: list[str]
) -> None:
    other = factory.user()
    headers = {"X-CSRF-Token": user_browser.csrf_token()}
    seen = []
    for email in (NEW_EMAIL, other.email, user.email, NEW_EMAIL):
        statements.clear()
        answer = user_browser.client.post(CHANGE, json={"new_email": email}, headers=headers)
        told = {name: value for name, value in answer.headers if name not in {"X-Request-ID", "Date"}}
        seen.append((answer.status_code, answer.get_json(), told, [each.split()[:3] for each in statements]))
    assert seen[0][0] == 202
    assert all(each == seen[0] for each in seen)


def test_nobody_is_mailed_at_the_address_of_another_account_or_the_present_one(
    factory: Factory, user: Any, user_browser: Browser, mailbox: Mailbox
) -> None:
    mailbox.deliver()
    for email in (factory.user().email, user.email):
        user_browser.post(CHANGE, {"new_email": email})
        assert mailbox.deliver() == ["dropped"]


def test_an_address_that_another_account_got_meanwhile_is_not_taken_from_it(
    app: Flask, factory: Factory, user: Any, user_browser: Browser, link: str
) -> None:
    other = factory.user(email=NEW_EMAIL)
    assert_invalid(user_browser.post(VERIFY, {"token": link}))
    assert find_email(app, user) == user.email
    assert find_email(app, other) == NEW_EMAIL
    assert user_browser.get(ME).status_code == 200


def test_nobody_is_mailed_more_often_than_the_cap_whoever_asks(make_app: Callable[..., Flask], tmp_path: Path) -> None:
    app = make_app(MAILS_PER_HOUR="1")
    factory, mailbox = Factory(app), Mailbox(app, tmp_path / "mail")
    for browser in (factory.sign_in(factory.user()), factory.sign_in(factory.user())):
        assert browser.post(CHANGE, {"new_email": NEW_EMAIL}).status_code == 202
        mailbox.deliver()
    assert len(mailbox.read(NEW_EMAIL)) == 1


@pytest.mark.parametrize("email", ["", "x", "a@b@c", "ada@example.com\r\nBcc: all@example.com", None, 5, ["a"]])
def test_what_is_no_address_is_refused(user_browser: Browser, email: object) -> None:
    answer = user_browser.post(CHANGE, {"new_email": email})
    assert (answer.status_code, list(answer.get_json()["errors"])) == (422, ["new_email"])


def test_addresses_of_other_domains_than_those_for_registering_are_refused(
    make_app: Callable[..., Flask], user: Any, tmp_path: Path
) -> None:
    app = make_app(REGISTRATION_DOMAINS="example.com")
    browser = Browser(app)
    browser.post(LOGIN, {"email": user.email, "password": PASSWORD})
    answer = browser.post(CHANGE, {"new_email": "new@example.org"})
    assert (answer.status_code, answer.get_json()["code"]) == (403, "domain_refused")
    assert ask(browser, Mailbox(app, tmp_path / "mail"))


def test_where_registration_is_closed_people_change_their_address(make_app: Callable[..., Flask], user: Any) -> None:
    browser = Browser(make_app(REGISTRATION="closed"))
    browser.post(LOGIN, {"email": user.email, "password": PASSWORD})
    assert browser.post(CHANGE, {"new_email": NEW_EMAIL}).status_code == 202


# --- a link that proves nothing any more ---


def change_password(_app: Flask, _user: Any, browser: Browser, _admin: Browser, _mailbox: Mailbox) -> None:
    body = {"current_password": PASSWORD, "new_password": "marble anchor violet thimble"}
    assert browser.post("/api/v1/auth/password/change", body).status_code == 204


def reset_password(app: Flask, user: Any, _browser: Browser, _admin: Browser, mailbox: Mailbox) -> None:
    stranger = Browser(app)
    stranger.post("/api/v1/auth/password/forgot", {"email": user.email})
    mailbox.deliver()
    body = {"token": mailbox.find_token(user.email), "new_password": "marble anchor violet thimble"}
    assert stranger.post("/api/v1/auth/password/reset", body).status_code == 204


def be_deactivated(_app: Flask, user: Any, _browser: Browser, admin: Browser, _mailbox: Mailbox) -> None:
    assert admin.patch(f"/api/v1/users/{user.id}", {"is_active": False}).status_code == 200


def ask_for_another(_app: Flask, _user: Any, browser: Browser, _admin: Browser, _mailbox: Mailbox) -> None:
    assert browser.post(CHANGE, {"new_email": "newer@example.com"}).status_code == 202


def be_deleted(_app: Flask, user: Any, _browser: Browser, admin: Browser, _mailbox: Mailbox) -> None:
    assert admin.delete(f"/api/v1/users/{user.id}").status_code == 204


EVENTS = [change_password, reset_password, be_deactivated, ask_for_another, be_deleted]


@pytest.mark.parametrize("happen", EVENTS)
def test_a_link_is_void_once_the_account_changed(
    app: Flask,
    user: Any,
    user_browser: Browser,
    admin_browser: Browser,
    mailbox: Mailbox,
    link: str,
    happen: Callable[[Flask, Any, Browser, Browser, Mailbox], None],
) -> None:
    happen(app, user, user_browser, admin_browser, mailbox)
    assert_invalid(Browser(app).post(VERIFY, {"token": link}))


@pytest.mark.parametrize("happen", [event for event in EVENTS if event is not reset_password])
def test_a_link_that_was_not_sent_yet_when_the_account_changed_is_never_sent(
    app: Flask,
    user: Any,
    user_browser: Browser,
    admin_browser: Browser,
    mailbox: Mailbox,
    happen: Callable[[Flask, Any, Browser, Browser, Mailbox], None],
) -> None:
    assert user_browser.post(CHANGE, {"new_email": NEW_EMAIL}).status_code == 202
    happen(app, user, user_browser, admin_browser, mailbox)
    mailbox.deliver()
    assert mailbox.read(NEW_EMAIL) == []


def test_a_link_that_ran_out_before_it_was_sent_is_never_sent(
    user_browser: Browser, mailbox: Mailbox, clock: Clock
) -> None:
    assert user_browser.post(CHANGE, {"new_email": NEW_EMAIL}).status_code == 202
    clock.advance(24 * 3600)
    mailbox.deliver()
    assert mailbox.read(NEW_EMAIL) == []


def test_a_link_changes_nothing_of_an_account_that_was_made_inactive_past_us(app: Flask, user: Any, link: str) -> None:
    with app.app_context(), transaction() as writing:
        writing.execute(sa.update(User).where(User.id == user.id).values(is_active=False))
    assert_invalid(Browser(app).post(VERIFY, {"token": link}))
    assert find_email(app, user) == user.email


def test_a_link_works_once(app: Flask, user_browser: Browser, link: str) -> None:
    assert user_browser.post(VERIFY, {"token": link}).status_code == 204
    assert_invalid(user_browser.post(VERIFY, {"token": link}))
    assert_invalid(Browser(app).post(VERIFY, {"token": link}))


def test_a_link_runs_out_after_a_day(user_browser: Browser, mailbox: Mailbox, clock: Clock) -> None:
    token = ask(user_browser, mailbox)
    clock.advance(24 * 3600)
    assert_invalid(user_browser.post(VERIFY, {"token": token}))


def test_a_request_that_waited_for_as_long_as_its_link_works_mails_nothing(
    user_browser: Browser, mailbox: Mailbox, clock: Clock
) -> None:
    user_browser.post(CHANGE, {"new_email": NEW_EMAIL})
    clock.advance(24 * 3600)
    mailbox.deliver()
    assert mailbox.read(NEW_EMAIL) == []


def test_a_link_to_reset_the_password_is_void_once_the_address_changed(
    app: Flask, user: Any, user_browser: Browser, link: str, mailbox: Mailbox
) -> None:
    stranger = Browser(app)
    stranger.post("/api/v1/auth/password/forgot", {"email": user.email})
    mailbox.deliver()
    body = {"token": mailbox.find_token(user.email), "new_password": "marble anchor violet thimble"}
    user_browser.post(VERIFY, {"token": link})
    assert_invalid(stranger.post("/api/v1/auth/password/reset", body))
    with app.app_context():
        left = db.session.scalars(sa.select(MailToken.purpose).where(MailToken.user_id == user.id)).all()
        assert set(left) == {"not_me"}


def test_a_user_who_was_deactivated_in_whatever_way_takes_no_address(
    app: Flask, user: Any, user_browser: Browser, link: str
) -> None:
    # As no call of ours does it, which would void the link besides.
    with app.app_context(), transaction() as writing:
        writing.execute(sa.update(User).where(User.id == user.id).values(is_active=False))
    assert_invalid(user_browser.post(VERIFY, {"token": link}))
    assert find_email(app, user) == user.email


def test_strangers_who_guessed_at_the_address_before_keep_nobody_out(
    make_app: Callable[..., Flask], user: Any, tmp_path: Path
) -> None:
    app = make_app(GUESSES_MAX="10")
    for _ in range(10):
        Browser(app).post(LOGIN, {"email": NEW_EMAIL, "password": "wrong"})
    browser = Browser(app)
    browser.post(LOGIN, {"email": user.email, "password": PASSWORD})
    assert browser.post(VERIFY, {"token": ask(browser, Mailbox(app, tmp_path / "mail"))}).status_code == 204
    assert Browser(app).post(LOGIN, {"email": NEW_EMAIL, "password": PASSWORD}).status_code == 200
