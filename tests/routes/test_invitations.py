"""Invitations: whoever reads the invited address gets an account, with roles that the inviter may give."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from app.extensions import db
from app.models import User
from app.security import Actor
from app.services import roles
from gatehouse.testing.factories import PASSWORD, Browser, Factory

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask

    from gatehouse.testing.clock import Clock
    from gatehouse.testing.mailbox import Mailbox

INVITATIONS = "/api/v1/invitations"
REGISTER = "/api/v1/auth/register"
EMAIL = "grace@example.com"


def invite(browser: Browser, *names: str, email: str = EMAIL, **fields: str) -> Any:
    return browser.post(INVITATIONS, {"email": email, "roles": list(names)} | fields)


def accept(app: Flask, token: object, email: str = EMAIL, **fields: str) -> Any:
    body = {"email": email, "password": PASSWORD, "invitation": token} | fields
    return Browser(app).post(REGISTER, body)


def get_code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.get_json()["code"]


def test_an_invitation_makes_an_account_with_its_address_verified_and_its_roles(
    app: Flask, factory: Factory, admin_browser: Browser, mailbox: Mailbox
) -> None:
    factory.role("users:read", name="support")
    made = invite(admin_browser, "support", language="de")
    assert made.status_code == 201
    assert made.get_json().keys() == {"id", "email", "roles", "inviter", "created_at", "expires_at"}
    mailbox.deliver()
    assert mailbox.read(EMAIL)[-1]["Content-Language"] == "de"
    user = accept(app, mailbox.find_token(EMAIL), name="Grace").get_json()
    assert (user["email"], user["name"], user["language"]) == (EMAIL, "Grace", "de")
    assert user["roles"] == ["support", "user"]
    assert user["permissions"] == ["users:read"]
    assert user["email_verified_at"] is not None
    assert admin_browser.get(INVITATIONS).get_json()["items"] == []


def test_invitations_are_listed_page_by_page_without_their_tokens(admin_browser: Browser, mailbox: Mailbox) -> None:
    for number in range(3):
        assert invite(admin_browser, email=f"{number}@example.com").status_code == 201
    mailbox.deliver()
    first = admin_browser.get(f"{INVITATIONS}?limit=2")
    second = admin_browser.get(f"{INVITATIONS}?limit=2&cursor={first.get_json()['next_cursor']}").get_json()
    listed = [each["email"] for each in first.get_json()["items"] + second["items"]]
    assert (listed, second["next_cursor"]) == (["2@example.com", "1@example.com", "0@example.com"], None)
    assert "token" not in first.text


@pytest.mark.parametrize("registration", ["open", "invite"])
def test_an_invitation_lets_in_whatever_else_is_asked_of_strangers(
    make_app: Callable[..., Flask], tmp_path: Any, registration: str
) -> None:
    from gatehouse.testing.mailbox import Mailbox  # noqa: PLC0415 - the fixture has the application of the test

    folder = tmp_path / "mails"
    app = make_app(
        REGISTRATION=registration,
        EMAIL_VERIFICATION="required",
        REGISTRATION_DOMAINS="example.org",
        MAIL_URL=f"file:{folder}",
    )
    mailbox = Mailbox(app, folder)
    invite(Factory(app).sign_in(Factory(app).admin()))
    mailbox.deliver()
    assert accept(app, mailbox.find_token(EMAIL)).status_code == 201


def test_without_an_invitation_nobody_gets_in_where_one_is_asked_for(make_app: Callable[..., Flask]) -> None:
    app = make_app(REGISTRATION="invite")
    answer = Browser(app).post(REGISTER, {"email": EMAIL, "password": PASSWORD})
    assert get_code(answer) == (403, "invitation_required")
    assert get_code(accept(app, "made up")) == (422, "invalid_token")


def test_nobody_gets_in_where_registration_is_closed(make_app: Callable[..., Flask]) -> None:
    assert get_code(accept(make_app(REGISTRATION="closed"), "made up")) == (403, "registration_closed")


@pytest.mark.parametrize("token", ["", "x", 7, [], ["x"], {"a": 1}, False])
def test_whatever_is_no_invitation_gets_one_answer(app: Flask, token: object) -> None:
    answer = accept(app, token)
    assert get_code(answer) == (422, "invalid_token")
    assert list(answer.get_json()["errors"]) == ["invitation"]


def test_an_invitation_works_once_for_its_address_and_for_its_time(
    app: Flask, admin_browser: Browser, mailbox: Mailbox, clock: Clock
) -> None:
    invite(admin_browser)
    mailbox.deliver()
    token = mailbox.find_token(EMAIL)
    other = accept(app, token, email="mallory@example.com")
    assert (other.status_code, list(other.get_json()["errors"])) == (422, ["email"])
    weak = accept(app, token, password="123456789012345")
    assert list(weak.get_json()["errors"]) == ["password"]
    assert accept(app, token).status_code == 201
    assert get_code(accept(app, token)) == (422, "invalid_token")

    invite(admin_browser, email="late@example.com")
    mailbox.deliver()
    clock.advance(7 * 24 * 3600 + 60)
    assert get_code(accept(app, mailbox.find_token("late@example.com"), email="late@example.com")) == (
        422,
        "invalid_token",
    )


def test_of_many_at_once_one_uses_an_invitation(app: Flask, admin_browser: Browser, mailbox: Mailbox) -> None:
    invite(admin_browser)
    mailbox.deliver()
    token = mailbox.find_token(EMAIL)
    browsers = [Browser(app) for _ in range(8)]
    for browser in browsers:
        browser.csrf_token()
    barrier, statuses = threading.Barrier(len(browsers)), []

    def use(browser: Browser) -> None:
        barrier.wait()
        body = {"email": EMAIL, "password": PASSWORD, "invitation": token}
        statuses.append(browser.post(REGISTER, body).status_code)

    threads = [threading.Thread(target=use, args=(browser,)) for browser in browsers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses.count(201) == 1
    assert set(statuses) <= {201, 409, 422, 503}
    with app.app_context():
        assert db.session.scalar(sa.select(sa.func.count()).where(User.email == EMAIL)) == 1


def test_nobody_invites_with_a_role_beyond_their_own(app: Flask, factory: Factory) -> None:
    factory.role("invitations:write", "invitations:read", name="host")
    factory.role("users:read", name="support")
    host = factory.sign_in(factory.user(roles=["host"]))
    assert get_code(invite(host, "support")) == (403, "ungrantable_permission")
    assert get_code(invite(host, "admin")) == (403, "ungrantable_permission")
    assert get_code(invite(host, "nothing")) == (404, "role_not_found")
    assert invite(host, "host").status_code == 201
    assert get_code(invite(factory.sign_in(factory.user()), "host")) == (403, "permission_missing")
    del app


def test_what_the_inviter_may_not_give_any_more_is_left_out(
    app: Flask, factory: Factory, mailbox: Mailbox, admin_browser: Browser
) -> None:
    factory.role("invitations:write", name="host")
    factory.role("users:read", name="support")
    inviter = factory.user(roles=["host", "support"])
    invite(factory.sign_in(inviter), "support", "host")
    mailbox.deliver()
    admin_browser.delete(f"/api/v1/users/{inviter.id}/roles/support")
    user = accept(app, mailbox.find_token(EMAIL)).get_json()
    assert user["roles"] == ["host", "user"]
    (entry,) = admin_browser.get("/api/v1/audit?action=invitation.accepted").get_json()["items"]
    assert (entry["details"]["roles"], entry["details"]["left_out"]) == (["host"], ["support"])


@pytest.mark.parametrize("fate", ["inactive", "deleted"])
def test_an_invitation_is_void_whose_inviter_may_not_sign_in(
    app: Flask, factory: Factory, mailbox: Mailbox, admin_browser: Browser, fate: str
) -> None:
    factory.role("invitations:write", name="host")
    inviter = factory.user(roles=["host"])
    invite(factory.sign_in(inviter))
    mailbox.deliver()
    if fate == "inactive":
        admin_browser.patch(f"/api/v1/users/{inviter.id}", {"is_active": False})
    else:
        admin_browser.delete(f"/api/v1/users/{inviter.id}")
    assert get_code(accept(app, mailbox.find_token(EMAIL))) == (422, "invalid_token")


def test_a_role_that_is_gone_is_left_out(
    app: Flask, factory: Factory, mailbox: Mailbox, admin_browser: Browser
) -> None:
    factory.role("users:read", name="support")
    invite(admin_browser, "support")
    mailbox.deliver()
    with app.app_context():
        roles.delete_role("support", actor=Actor.system())
    assert accept(app, mailbox.find_token(EMAIL)).get_json()["roles"] == ["user"]


def test_an_invitation_is_sent_again_and_withdrawn(app: Flask, admin_browser: Browser, mailbox: Mailbox) -> None:
    path = f"{INVITATIONS}/{invite(admin_browser).get_json()['id']}"
    mailbox.deliver()
    first = mailbox.find_token(EMAIL)
    assert get_code(invite(admin_browser)) == (409, "already_invited")
    assert admin_browser.post(f"{path}/resend", {}).status_code == 202
    mailbox.deliver()
    assert get_code(accept(app, first)) == (422, "invalid_token")
    second = mailbox.find_token(EMAIL)
    assert admin_browser.post(f"{path}/resend", {}).status_code == 202
    assert admin_browser.delete(path).status_code == 204
    mailbox.deliver()
    assert mailbox.find_token(EMAIL) == second, "a mail went out for an invitation that was withdrawn"
    assert get_code(accept(app, second)) == (422, "invalid_token")
    assert get_code(admin_browser.delete(path)) == (404, "invitation_not_found")
    assert get_code(admin_browser.post(f"{path}/resend", {})) == (404, "invitation_not_found")


def test_nobody_withdraws_what_only_others_could_give(factory: Factory, admin_browser: Browser) -> None:
    path = f"{INVITATIONS}/{invite(admin_browser, 'admin').get_json()['id']}"
    factory.role("invitations:write", name="host")
    host = factory.sign_in(factory.user(roles=["host"]))
    assert get_code(host.delete(path)) == (403, "ungrantable_permission")
    assert get_code(host.post(f"{path}/resend", {})) == (403, "ungrantable_permission")


def test_who_has_an_account_is_not_invited(admin_browser: Browser, user: Any) -> None:
    assert get_code(invite(admin_browser, email=user.email)) == (409, "email_taken")


def test_the_operator_invites_from_the_command_line(app: Flask, factory: Factory, mailbox: Mailbox) -> None:
    factory.role("users:read", name="support")
    done = app.test_cli_runner().invoke(args=["user", "invite", EMAIL, "--role", "support"])
    assert done.exit_code == 0, done.output
    mailbox.deliver()
    assert accept(app, mailbox.find_token(EMAIL)).get_json()["roles"] == ["support", "user"]
