"""Accounts begin once their address is verified, where the operator wants that."""

from __future__ import annotations

import datetime
import uuid
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from app.clock import now
from app.extensions import db, transaction
from app.models import OutboxMessage, Registration, User
from app.services import registrations
from app.services.outbox import QueuedMail
from gatehouse.testing.factories import PASSWORD, Browser, Factory
from gatehouse.testing.mailbox import Mailbox

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flask import Flask

    from gatehouse.testing.clock import Clock

REGISTER = "/api/v1/auth/register"
LOGIN = "/api/v1/auth/login"
ME = "/api/v1/users/me"
VERIFY = "/api/v1/auth/email/verify"
RESEND = "/api/v1/auth/email/verify/resend"
EMAIL = "ada@example.com"


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app(EMAIL_VERIFICATION="required")


def register(app: Flask, email: str = EMAIL, **fields: str) -> Any:
    return Browser(app).post(REGISTER, {"email": email, "password": PASSWORD} | fields)


def sign_in(app: Flask, password: str = PASSWORD, email: str = EMAIL) -> Any:
    return Browser(app).post(LOGIN, {"email": email, "password": password})


def verify(app: Flask, token: object) -> Any:
    return Browser(app).post(VERIFY, {"token": token})


def count(app: Flask, model: Any) -> int:
    with app.app_context():
        return db.session.scalar(sa.select(sa.func.count()).select_from(model)) or 0


def test_an_account_begins_when_its_address_is_verified(app: Flask, mailbox: Mailbox) -> None:
    asked = register(app, name="Ada", language="de")
    assert (asked.status_code, asked.get_json()) == (202, {"status": "accepted"})
    assert "Set-Cookie" not in asked.headers or "device" not in asked.headers["Set-Cookie"]
    mailbox.deliver()
    assert sign_in(app).status_code == 401
    assert count(app, User) == 0
    assert verify(app, mailbox.find_token(EMAIL)).status_code == 204
    user = sign_in(app).get_json()["user"]
    assert (user["name"], user["language"], user["roles"]) == ("Ada", "de", ["user"])
    assert user["email_verified_at"] is not None
    assert count(app, Registration) == 0


def test_a_link_works_once(app: Flask, mailbox: Mailbox) -> None:
    register(app)
    mailbox.deliver()
    token = mailbox.find_token(EMAIL)
    assert [verify(app, token).status_code for _ in range(3)] == [204, 422, 422]


def test_a_link_ends_with_its_lifetime(app: Flask, mailbox: Mailbox, clock: Clock) -> None:
    register(app)
    clock.advance(3600)  # It was the worker that was late.
    mailbox.deliver()
    clock.advance(23 * 3600)
    assert verify(app, mailbox.find_token(EMAIL)).get_json()["code"] == "invalid_token"
    assert count(app, User) == 0


@pytest.mark.parametrize("token", ["", "x", "x" * 43, None, 7, [], ["x"], {"a": 1}, True, "ü\x00\ud800"])
def test_whatever_is_no_token_of_ours_gets_one_answer(app: Flask, token: object) -> None:
    answer = verify(app, token)
    assert (answer.status_code, answer.get_json()["code"]) == (422, "invalid_token")


def test_a_link_for_something_else_verifies_nothing(app: Flask, mailbox: Mailbox, user: User) -> None:
    Browser(app).post("/api/v1/auth/password/forgot", {"email": user.email})
    mailbox.deliver()
    assert verify(app, mailbox.find_token(user.email)).get_json()["code"] == "invalid_token"


SQUATTERS = "what the squatter chose"
NAMES = {PASSWORD: "Ada", SQUATTERS: "Mallory"}


@pytest.mark.parametrize("is_squatter_first", [True, False])
def test_of_several_who_register_an_address_the_owner_s_own_browser_tells_whose_it_is(
    app: Flask, mailbox: Mailbox, *, is_squatter_first: bool
) -> None:
    """Whichever mail the owner follows, what the squatter set up is worth nothing."""
    own = Browser(app)
    passwords = [SQUATTERS, PASSWORD] if is_squatter_first else [PASSWORD, SQUATTERS]
    tokens = []
    for password in passwords:
        browser = own if password == PASSWORD else Browser(app)
        assert (
            browser.post(REGISTER, {"email": EMAIL, "password": password, "name": NAMES[password]}).status_code == 202
        )
        mailbox.deliver()
        tokens.append(mailbox.find_token(EMAIL))
    assert [own.post(VERIFY, {"token": token}).status_code for token in tokens] == [422, 204]
    assert sign_in(app, SQUATTERS).status_code == 401
    if is_squatter_first:
        assert sign_in(app).get_json()["user"]["name"] == "Ada"
        return
    # The newest link was the squatter's: the account has the address alone, and its owner is mailed what sets the rest.
    assert sign_in(app).status_code == 401
    mailbox.deliver()
    set_password = {"token": mailbox.find_token(EMAIL), "new_password": PASSWORD}
    assert Browser(app).post("/api/v1/auth/password/reset", set_password).status_code == 204
    assert sign_in(app).get_json()["user"]["name"] == ""


def test_a_disputed_registration_that_another_browser_verifies_has_no_password(app: Flask, mailbox: Mailbox) -> None:
    for password in (SQUATTERS, PASSWORD):
        register(app, password=password)
        mailbox.deliver()
    assert verify(app, mailbox.find_token(EMAIL)).status_code == 204
    assert [sign_in(app, password).status_code for password in (SQUATTERS, PASSWORD)] == [401, 401]
    mailbox.deliver()
    assert "/account/reset#token=" in mailbox.read_text(EMAIL)


def test_a_link_that_is_mailed_again_stays_as_disputed_as_it_was(app: Flask, mailbox: Mailbox) -> None:
    for password in (PASSWORD, SQUATTERS):
        register(app, password=password)
        mailbox.deliver()
    Browser(app).post(RESEND, {"email": EMAIL})
    mailbox.deliver()
    assert verify(app, mailbox.find_token(EMAIL)).status_code == 204
    assert sign_in(app, SQUATTERS).status_code == 401


def test_a_registration_that_a_slow_worker_takes_up_late_is_a_dispute_too(app: Flask, mailbox: Mailbox) -> None:
    register(app, password=PASSWORD)
    with app.app_context(), transaction() as writing:
        writing.execute(sa.update(OutboxMessage).values(due_at=now() + datetime.timedelta(hours=1)))
    register(app, password=SQUATTERS)
    mailbox.deliver()
    token = mailbox.find_token(EMAIL)
    with app.app_context(), transaction() as writing:
        writing.execute(sa.update(OutboxMessage).values(due_at=now()))
    mailbox.deliver()
    assert verify(app, token).status_code == 204
    assert sign_in(app, SQUATTERS).status_code == 401


def test_who_registers_again_in_the_same_browser_gets_what_was_said_last(app: Flask, mailbox: Mailbox) -> None:
    browser = Browser(app)
    for password in ("marble anchor violet thimble", PASSWORD):
        browser.post(REGISTER, {"email": EMAIL, "password": password})
        mailbox.deliver()
    # Even where the link is opened elsewhere.
    assert verify(app, mailbox.find_token(EMAIL)).status_code == 204
    assert sign_in(app).status_code == 200


def test_who_has_an_account_is_told_that_somebody_registered(app: Flask, mailbox: Mailbox, user: User) -> None:
    asked = register(app, email=user.email, password="what the stranger chose")
    assert (asked.status_code, asked.get_json()) == (202, {"status": "accepted"})
    mailbox.deliver()
    assert "#token=" not in mailbox.read_text(user.email)
    assert sign_in(app, email=user.email).status_code == 200
    assert sign_in(app, "what the stranger chose", email=user.email).status_code == 401


def test_nobody_hears_of_an_inactive_account(app: Flask, mailbox: Mailbox, user: User, admin_browser: Browser) -> None:
    admin_browser.patch(f"/api/v1/users/{user.id}", {"is_active": False})
    assert register(app, email=user.email).status_code == 202
    mailbox.deliver()
    assert mailbox.read(user.email) == []


def test_the_link_is_mailed_once_more_on_request(app: Flask, mailbox: Mailbox) -> None:
    register(app)
    mailbox.deliver()
    first = mailbox.find_token(EMAIL)
    asked = Browser(app).post(RESEND, {"email": EMAIL})
    assert (asked.status_code, asked.get_json()) == (202, {"status": "accepted"})
    mailbox.deliver()
    second = mailbox.find_token(EMAIL)
    assert [verify(app, token).status_code for token in (first, second)] == [422, 204]
    assert sign_in(app).status_code == 200


def test_a_registration_that_ran_out_is_not_mailed_once_more(app: Flask, mailbox: Mailbox, clock: Clock) -> None:
    register(app)
    mailbox.deliver()
    clock.advance(24 * 3600)
    Browser(app).post(RESEND, {"email": EMAIL})
    mailbox.deliver()
    assert len(mailbox.read(EMAIL)) == 1


def test_a_registration_that_is_prepared_after_a_newer_one_takes_no_place(app: Flask, clock: Clock) -> None:
    """Of two that overtake each other the one that was asked for last begins the account."""
    newer, older = clock.now(), clock.now() - datetime.timedelta(seconds=1)
    with app.app_context():
        made = []
        for instant, name in ((newer, "newer"), (older, "older")):
            context = {"name": name, "stored_language": None, "password_hash": None, "browser_hash": None}
            with transaction():
                mail = QueuedMail(uuid.uuid4(), EMAIL, None, instant, context)
                made.append(registrations.prepare_verify_registration(mail))
        assert [prepared is not None for prepared in made] == [True, False]
        assert db.session.scalars(sa.select(Registration.name)).all() == ["newer"]


def test_links_beyond_the_cap_are_not_mailed_and_void_nothing(make_app: Callable[..., Flask], tmp_path: Path) -> None:
    app = make_app(MAILS_PER_HOUR="1")
    user, mailbox = Factory(app).user(), Mailbox(app, tmp_path / "mail")
    for state in ("sent", "dropped"):
        Browser(app).post(RESEND, {"email": user.email})
        assert mailbox.deliver() == [state]
    assert verify(app, mailbox.find_token(user.email)).status_code == 204


def test_nothing_is_mailed_where_nothing_waits(app: Flask, mailbox: Mailbox) -> None:
    assert Browser(app).post(RESEND, {"email": "nobody@example.com"}).status_code == 202
    mailbox.deliver()
    assert mailbox.read("nobody@example.com") == []


def test_an_account_made_by_others_while_the_mail_was_under_way_keeps_its_password(
    app: Flask, mailbox: Mailbox, factory: Any
) -> None:
    register(app, password="what the stranger chose")
    mailbox.deliver()
    factory.user(email=EMAIL)
    assert verify(app, mailbox.find_token(EMAIL)).status_code == 422
    assert sign_in(app).status_code == 200


def test_a_session_of_the_account_verifies_its_address_and_keeps_all(
    app: Flask, mailbox: Mailbox, user: User, user_browser: Browser
) -> None:
    Browser(app).post(RESEND, {"email": user.email})
    mailbox.deliver()
    assert user_browser.post(VERIFY, {"token": mailbox.find_token(user.email)}).status_code == 204
    assert user_browser.get(ME).get_json()["email_verified_at"] is not None
    assert sign_in(app, email=user.email).status_code == 200


def test_who_set_up_an_account_on_an_address_of_others_loses_it(
    app: Flask, mailbox: Mailbox, user: User, user_browser: Browser
) -> None:
    Browser(app).post(RESEND, {"email": user.email})
    mailbox.deliver()
    assert verify(app, mailbox.find_token(user.email)).status_code == 204
    assert user_browser.get(ME).status_code == 401
    assert sign_in(app, email=user.email).status_code == 401


def test_whoever_is_signed_in_to_another_account_saves_nothing_of_it(
    app: Flask, mailbox: Mailbox, user: User, user_browser: Browser, admin_browser: Browser
) -> None:
    Browser(app).post(RESEND, {"email": user.email})
    mailbox.deliver()
    assert admin_browser.post(VERIFY, {"token": mailbox.find_token(user.email)}).status_code == 204
    assert user_browser.get(ME).status_code == 401
    assert sign_in(app, email=user.email).status_code == 401


def test_links_that_they_had_mailed_to_themselves_take_it_nowhere(
    app: Flask, mailbox: Mailbox, user: User, user_browser: Browser
) -> None:
    assert user_browser.post("/api/v1/auth/email/change", {"new_email": "squatter@example.com"}).status_code == 202
    Browser(app).post(RESEND, {"email": user.email})
    mailbox.deliver()
    assert verify(app, mailbox.find_token(user.email)).status_code == 204
    assert verify(app, mailbox.find_token("squatter@example.com")).get_json()["code"] == "invalid_token"


@pytest.mark.parametrize("changed", [{"is_active": False}, {"email": "other@example.com"}])
def test_a_link_that_was_made_just_before_the_account_changed_verifies_nothing(
    app: Flask, mailbox: Mailbox, user: User, changed: dict[str, Any]
) -> None:
    """Whoever changes an account voids the links that are stored, and not those that the worker is storing."""
    Browser(app).post(RESEND, {"email": user.email})
    mailbox.deliver()
    with app.app_context(), transaction() as writing:
        writing.execute(sa.update(User).where(User.id == user.id).values(**changed))
    assert verify(app, mailbox.find_token(user.email)).get_json()["code"] == "invalid_token"
    with app.app_context():
        assert db.session.get_one(User, user.id).email_verified_at is None


def test_addresses_of_other_domains_are_refused_before_anything_is_looked_up(make_app: Callable[..., Flask]) -> None:
    app = make_app(REGISTRATION_DOMAINS="example.org,EXAMPLE.net", EMAIL_VERIFICATION="required")
    for email, status in (
        ("a@example.org", 202),
        ("a@Example.NET", 202),
        ("a@example.com", 403),
        ("a@b.example.org", 403),
    ):
        answer = register(app, email=email)
        assert answer.status_code == status
        assert status == 202 or answer.get_json()["code"] == "domain_refused"


def test_a_weak_password_is_refused_before_anything_is_mailed(app: Flask, mailbox: Mailbox) -> None:
    answer = register(app, password="123456789012345")
    assert (answer.status_code, list(answer.get_json()["errors"])) == (422, ["password"])
    mailbox.deliver()
    assert mailbox.read(EMAIL) == []
