"""Mails that tell of a change, and their links for the case that it was somebody else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from app.extensions import db, transaction
from app.models import AuditEntry, MailToken, User
from gatehouse.testing.factories import PASSWORD, Browser

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask
    from werkzeug.test import TestResponse

    from gatehouse.testing.clock import Clock
    from gatehouse.testing.factories import Factory
    from gatehouse.testing.mailbox import Mailbox

NOT_ME = "/api/v1/auth/not-me"
LOGIN = "/api/v1/auth/login"
ME = "/api/v1/users/me"
CHANGE_PASSWORD = "/api/v1/auth/password/change"
CHANGE_EMAIL = "/api/v1/auth/email/change"
VERIFY = "/api/v1/auth/email/verify"
RESET = "/api/v1/auth/password/reset"
THEIRS = "copper meadow saffron tundra"
OWN = "marble anchor violet thimble"


class Thief:
    """Somebody with a session of the user and the password, in a browser of their own."""

    def __init__(self, app: Flask, user: Any, mailbox: Mailbox) -> None:
        self.mailbox = mailbox
        self.browser = Browser(app)
        assert self.browser.post(LOGIN, {"email": user.email, "password": PASSWORD}).status_code == 200

    def change_password(self) -> None:
        """Change the password."""
        body = {"current_password": PASSWORD, "new_password": THEIRS}
        assert self.browser.post(CHANGE_PASSWORD, body).status_code == 204

    def change_email(self, email: str) -> None:
        """Take the account to an address of their own."""
        assert self.browser.post(CHANGE_EMAIL, {"new_email": email}).status_code == 202
        self.mailbox.deliver()
        assert self.browser.post(VERIFY, {"token": self.mailbox.find_token(email)}).status_code == 204
        self.mailbox.deliver()

    def delete(self) -> None:
        """Have the account deleted."""
        assert self.browser.delete(ME).status_code in {202, 204}


@pytest.fixture
def thief(app: Flask, user: Any, mailbox: Mailbox) -> Thief:
    """Somebody who got hold of the user's password."""
    return Thief(app, user, mailbox)


def find_links(mailbox: Mailbox, to: str) -> list[str]:
    """Return the tokens of all "this was not me" links that an address was mailed."""
    texts = [str(mail.get_body(("plain",)).get_content()) for mail in mailbox.read(to)]  # type: ignore[union-attr]
    return [part.split()[0] for text in texts for part in text.split("/account/not-me#token=")[1:]]


def assert_invalid(answer: TestResponse) -> None:
    """Make sure of the one answer to whatever proves nothing."""
    assert (answer.status_code, answer.get_json()["code"]) == (422, "invalid_token")


def get_user(app: Flask, user: Any) -> User:
    """Return the user as stored."""
    with app.app_context():
        return db.session.get_one(User, user.id)


def get_back_in(app: Flask, user: Any, mailbox: Mailbox) -> None:
    """Make sure that the owner gets back in by the mail that follows a "this was not me", and nobody else does."""
    mailbox.deliver()
    owner = Browser(app)
    body = {"token": mailbox.find_token(user.email), "new_password": OWN}
    assert owner.post(RESET, body).status_code == 204
    assert owner.post(LOGIN, {"email": user.email, "password": OWN}).status_code == 200
    for password in (PASSWORD, THEIRS):
        assert Browser(app).post(LOGIN, {"email": user.email, "password": password}).status_code == 401


# --- which mails there are ---


def test_a_sign_in_from_a_browser_that_the_account_does_not_know_is_told(
    app: Flask, user: Any, mailbox: Mailbox
) -> None:
    browser = Browser(app)
    headers = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:148.0) Gecko/20100101 Firefox/148.0"}
    assert browser.post(LOGIN, {"email": user.email, "password": PASSWORD}, headers=headers).status_code == 200
    mailbox.deliver()
    assert [mail["Subject"] for mail in mailbox.read(user.email)] == ["Sign-in from a new device"]
    text = mailbox.read_text(user.email)
    assert "Firefox, Linux" in text
    assert "127.0.0.1" in text
    # From then on it is known.
    browser.post("/api/v1/auth/logout")
    browser.post(LOGIN, {"email": user.email, "password": PASSWORD})
    assert mailbox.deliver() == []


@pytest.mark.parametrize("user_agent", ["x" * 8000, "\x1b" * 2000, "\xff" * 4000], ids=["long", "controls", "latin"])
def test_whoever_calls_with_a_long_user_agent_signs_in_and_is_told(
    app: Flask, user: User, mailbox: Mailbox, user_agent: str
) -> None:
    browser = Browser(app)
    headers = {"X-CSRF-Token": browser.csrf_token(), "User-Agent": user_agent}
    credentials = {"email": user.email, "password": PASSWORD}
    assert browser.client.post(LOGIN, json=credentials, headers=headers).status_code == 200
    assert mailbox.deliver() == ["sent"]


def test_neither_registering_nor_a_refused_sign_in_tells_of_a_new_device(
    app: Flask, user: Any, browser: Browser, mailbox: Mailbox
) -> None:
    browser.post("/api/v1/auth/register", {"email": "ada@example.com", "password": PASSWORD})
    Browser(app).post(LOGIN, {"email": user.email, "password": "wrong"})
    assert mailbox.deliver() == []


def test_a_user_agent_with_line_breaks_adds_no_line_to_the_mail(app: Flask, user: Any, mailbox: Mailbox) -> None:
    browser = Browser(app)
    browser.post(LOGIN, {"email": user.email, "password": PASSWORD}, headers={"User-Agent": "x\x1b[31m\u2028Bcc: y"})
    mailbox.deliver()
    (mail,) = mailbox.read(user.email)
    assert mail["Bcc"] is None
    assert "\x1b" not in mailbox.read_text(user.email)


def test_whoever_has_the_address_by_now_is_told_of_no_sign_in_of_the_one_before(
    app: Flask, factory: Factory, user: Any, mailbox: Mailbox
) -> None:
    Browser(app).post(LOGIN, {"email": user.email, "password": PASSWORD})
    with app.app_context(), transaction() as writing:
        writing.execute(sa.update(User).where(User.id == user.id).values(email="moved@example.com"))
    factory.user(email=user.email)
    assert mailbox.deliver() == ["dropped"]


def test_notices_speak_the_user_s_language_or_else_that_of_the_request(
    app: Flask, factory: Factory, mailbox: Mailbox
) -> None:
    subjects = []
    for language, accepted in (("de", "en"), (None, "de-AT"), (None, "fr")):
        user = factory.user()
        if language:
            with app.app_context(), db.engine.connect().execution_options(is_write=True) as connection:
                connection.execute(sa.update(User).where(User.id == user.id).values(language=language))
                connection.commit()
        Browser(app).post(LOGIN, {"email": user.email, "password": PASSWORD}, headers={"Accept-Language": accepted})
        mailbox.deliver()
        subjects.append(mailbox.read(user.email)[-1]["Content-Language"])
    assert subjects == ["de", "de", "en"]


def test_a_new_password_is_told_whoever_set_it(app: Flask, user: Any, user_browser: Browser, mailbox: Mailbox) -> None:
    mailbox.deliver()
    before = len(mailbox.read(user.email))
    user_browser.post(CHANGE_PASSWORD, {"current_password": PASSWORD, "new_password": THEIRS})
    app.test_cli_runner().invoke(args=["user", "reset-password", user.email])
    mailbox.deliver()
    told = [mail["Subject"] for mail in mailbox.read(user.email)][before:]
    assert told == ["Your password was changed"] * 2


# --- this was not me ---


def test_the_owner_gets_back_in_after_the_password_was_changed(
    app: Flask, user: Any, thief: Thief, mailbox: Mailbox
) -> None:
    thief.change_password()
    mailbox.deliver()
    assert Browser(app).post(NOT_ME, {"token": find_links(mailbox, user.email)[-1]}).status_code == 204
    assert thief.browser.get(ME).status_code == 401
    assert Browser(app).post(LOGIN, {"email": user.email, "password": THEIRS}).status_code == 401
    get_back_in(app, user, mailbox)


def test_the_owner_gets_the_address_back(app: Flask, user: Any, thief: Thief, mailbox: Mailbox) -> None:
    thief.change_email("thief@example.com")
    assert Browser(app).post(NOT_ME, {"token": find_links(mailbox, user.email)[-1]}).status_code == 204
    stored = get_user(app, user)
    assert (stored.email, stored.password_hash) == (user.email, None)
    assert thief.browser.get(ME).status_code == 401
    get_back_in(app, user, mailbox)
    with app.app_context():
        query = sa.select(AuditEntry.details).where(AuditEntry.action == "user.change_rejected")
        assert db.session.scalars(query).all() == [{"email_restored": True}]


def test_whoever_took_an_account_over_cannot_register_with_the_address_that_its_owner_takes_back(
    app: Flask, user: User, thief: Thief, mailbox: Mailbox
) -> None:
    thief.change_email("thief@example.com")
    squatter = {"email": user.email, "password": THEIRS}
    refused = Browser(app).post("/api/v1/auth/register", squatter)
    assert (refused.status_code, refused.get_json()["code"]) == (409, "email_taken")
    assert Browser(app).post(NOT_ME, {"token": find_links(mailbox, user.email)[-1]}).status_code == 204
    get_back_in(app, user, mailbox)


def test_a_former_address_is_free_once_it_cannot_be_taken_back(
    app: Flask, user: User, thief: Thief, clock: Clock
) -> None:
    thief.change_email("thief@example.com")
    clock.advance(7 * 24 * 3600)
    registered = Browser(app).post("/api/v1/auth/register", {"email": user.email, "password": OWN})
    assert registered.status_code == 201


def test_a_notice_from_before_the_address_changed_gives_it_back_too(
    app: Flask, user: Any, thief: Thief, mailbox: Mailbox
) -> None:
    mailbox.deliver()
    (new_device,) = find_links(mailbox, user.email)
    thief.change_email("thief@example.com")
    assert Browser(app).post(NOT_ME, {"token": new_device}).status_code == 204
    get_back_in(app, user, mailbox)


def test_whoever_took_an_account_over_cannot_void_what_its_owner_was_mailed(
    app: Flask, user: Any, thief: Thief, mailbox: Mailbox
) -> None:
    thief.change_password()
    thief.change_email("thief@example.com")
    told = find_links(mailbox, user.email)
    thief.change_email("thief2@example.com")
    stranger = Browser(app)
    stranger.post("/api/v1/auth/password/forgot", {"email": "thief2@example.com"})
    mailbox.deliver()
    body = {"token": mailbox.find_token("thief2@example.com"), "new_password": "lantern osprey turnip gravel"}
    assert stranger.post(RESET, body).status_code == 204
    # Not even by links of their own, which bring back what was after the owner's time.
    mailbox.deliver()
    assert Browser(app).post(NOT_ME, {"token": find_links(mailbox, "thief@example.com")[-1]}).status_code == 204
    assert get_user(app, user).email == "thief@example.com"
    assert Browser(app).post(NOT_ME, {"token": told[-1]}).status_code == 204
    get_back_in(app, user, mailbox)


def test_the_links_of_whoever_took_the_account_over_are_void_once_its_owner_has_it_back(
    app: Flask, user: Any, thief: Thief, mailbox: Mailbox
) -> None:
    thief.change_email("thief@example.com")
    told = find_links(mailbox, user.email)
    thief.change_email("thief2@example.com")
    thief.browser.post(CHANGE_EMAIL, {"new_email": "thief3@example.com"})
    mailbox.deliver()
    change = mailbox.find_token("thief3@example.com")
    Browser(app).post("/api/v1/auth/password/forgot", {"email": "thief2@example.com"})
    mailbox.deliver()
    reset = mailbox.find_token("thief2@example.com")
    assert Browser(app).post(NOT_ME, {"token": told[-1]}).status_code == 204
    stranger = Browser(app)
    for token in find_links(mailbox, "thief@example.com"):
        assert_invalid(stranger.post(NOT_ME, {"token": token}))
    assert_invalid(stranger.post(VERIFY, {"token": change}))
    assert_invalid(stranger.post(RESET, {"token": reset, "new_password": THEIRS}))
    assert get_user(app, user).email == user.email


def test_a_notice_to_whoever_took_the_account_over_that_was_not_sent_yet_brings_nothing_back(
    app: Flask, user: Any, thief: Thief, mailbox: Mailbox
) -> None:
    thief.change_email("thief@example.com")
    told = find_links(mailbox, user.email)
    # A sign-in from a new browser, told to the thief; the mail waits.
    Browser(app).post(LOGIN, {"email": "thief@example.com", "password": PASSWORD})
    assert Browser(app).post(NOT_ME, {"token": told[-1]}).status_code == 204
    before = len(mailbox.read("thief@example.com"))
    mailbox.deliver()
    assert len(mailbox.read("thief@example.com")) == before


def test_a_notice_that_was_not_sent_yet_is_not_told_to_who_has_the_address_by_then(
    app: Flask, factory: Factory, user: Any, mailbox: Mailbox
) -> None:
    Browser(app).post(LOGIN, {"email": user.email, "password": PASSWORD})
    # As no call of ours does it without telling the former address.
    with app.app_context(), transaction() as writing:
        writing.execute(sa.update(User).where(User.id == user.id).values(email="other@example.com"))
    factory.user(email=user.email)
    assert mailbox.deliver() == ["dropped"]


def test_an_address_that_another_account_has_meanwhile_stays_theirs_and_the_present_one_is_mailed_nothing(
    app: Flask, factory: Factory, user: Any, thief: Thief, mailbox: Mailbox
) -> None:
    thief.change_email("thief@example.com")
    other = factory.user(email=user.email)
    before = len(mailbox.read("thief@example.com"))
    assert Browser(app).post(NOT_ME, {"token": find_links(mailbox, user.email)[-1]}).status_code == 204
    assert get_user(app, other).email == user.email
    stored = get_user(app, user)
    assert (stored.email, stored.password_hash) == ("thief@example.com", None)
    assert thief.browser.get(ME).status_code == 401
    mailbox.deliver()
    assert len(mailbox.read("thief@example.com")) == before


def test_a_deletion_that_somebody_else_asked_for_is_undone(
    app: Flask, user: Any, thief: Thief, mailbox: Mailbox
) -> None:
    thief.delete()
    assert get_user(app, user).deletion_due_at is not None
    mailbox.deliver()
    assert mailbox.read(user.email)[-1]["Subject"]
    assert Browser(app).post(NOT_ME, {"token": find_links(mailbox, user.email)[-1]}).status_code == 204
    assert get_user(app, user).deletion_due_at is None
    get_back_in(app, user, mailbox)


# --- links that prove nothing, and those that are only looked at ---


@pytest.mark.parametrize("token", ["", "x", "x" * 43, None, 5, [], {}, ["x"], True, "\ud800", "\0"])
def test_whatever_is_no_link_of_ours_gets_one_answer(browser: Browser, token: object) -> None:
    assert_invalid(browser.post(NOT_ME, {"token": token}))


def test_a_link_works_once(app: Flask, user: Any, thief: Thief, mailbox: Mailbox) -> None:
    thief.change_password()
    mailbox.deliver()
    link = find_links(mailbox, user.email)[-1]
    assert Browser(app).post(NOT_ME, {"token": link}).status_code == 204
    assert_invalid(Browser(app).post(NOT_ME, {"token": link}))


def test_a_link_for_something_else_undoes_nothing(app: Flask, user: Any, thief: Thief, mailbox: Mailbox) -> None:
    Browser(app).post("/api/v1/auth/password/forgot", {"email": user.email})
    mailbox.deliver()
    assert_invalid(Browser(app).post(NOT_ME, {"token": mailbox.find_token(user.email)}))
    assert thief.browser.get(ME).status_code == 200


def test_a_link_runs_out_after_a_week(app: Flask, user: Any, mailbox: Mailbox, clock: Clock) -> None:
    Thief(app, user, mailbox).change_password()
    clock.advance(7 * 24 * 3600)
    # Even one that the mail with waited all the time.
    mailbox.deliver()
    for link in find_links(mailbox, user.email):
        assert_invalid(Browser(app).post(NOT_ME, {"token": link}))


def test_a_link_that_a_scanner_opens_is_not_used_up(app: Flask, user: Any, thief: Thief, mailbox: Mailbox) -> None:
    thief.change_password()
    mailbox.deliver()
    link = find_links(mailbox, user.email)[-1]
    for method in ("GET", "HEAD", "OPTIONS"):
        Browser(app).client.open(NOT_ME, method=method, query_string={"token": link})
    assert Browser(app).post(NOT_ME, {"token": link}).status_code == 204


def test_wrong_links_are_limited_by_address(make_app: Callable[..., Flask]) -> None:
    browser = Browser(make_app(RATELIMIT_ENABLED="true", RATELIMIT_TOKEN="2/hour"))
    statuses = [browser.post(NOT_ME, {"token": f"{number}" * 43}).status_code for number in range(3)]
    assert statuses == [422, 422, 429]


def test_the_links_go_with_the_account(app: Flask, user: Any, thief: Thief, admin_browser: Browser) -> None:
    thief.change_password()
    assert admin_browser.delete(f"/api/v1/users/{user.id}").status_code == 204
    with app.app_context():
        assert db.session.scalar(sa.select(sa.func.count()).where(MailToken.user_id == user.id)) == 0
