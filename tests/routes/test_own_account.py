"""What people do with their own account."""

from __future__ import annotations

import json
import threading
import uuid
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from app.clock import now
from app.extensions import db, transaction
from app.models import AuditEntry, Invitation, MailToken, Session
from gatehouse.testing.factories import PASSWORD, Browser, Factory

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask

    from gatehouse.testing.clock import Clock

ME = "/api/v1/users/me"


def test_a_user_changes_the_name_and_nothing_else(user_browser: Browser, user: Any) -> None:
    changed = user_browser.patch(ME, {"name": "Ada"})
    assert (changed.status_code, changed.get_json()["name"]) == (200, "Ada")
    assert user_browser.patch(ME, {}).get_json()["name"] == "Ada"
    for field in ("email", "is_active", "roles", "permissions", "id", "email_verified_at", "password"):
        refused = user_browser.patch(ME, {field: "x"})
        assert (refused.status_code, list(refused.get_json()["errors"])) == (422, [field])
    assert user_browser.get(ME).get_json()["id"] == str(user.id)


@pytest.mark.parametrize(
    "name", ["x" * 201, "line\nbreak", "nul\0", "\ud800", "tab\t", "esc\x1b[2J", "\u202egnp.exe", "\u2028", 5, None, []]
)
def test_a_name_is_one_line_of_text_of_bounded_length(user_browser: Browser, name: object) -> None:
    response = user_browser.client.patch(
        ME,
        data=json.dumps({"name": name}),
        content_type="application/json",
        headers={"X-CSRF-Token": user_browser.csrf_token()},
    )
    assert (response.status_code, list(response.get_json()["errors"])) == (422, ["name"])
    assert user_browser.get(ME).get_json()["name"] == ""


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nope",
        b'{"name": NaN}',
        b'{"name": "a", "name": "b"}',
        b"[" * 100_00 + b"]" * 100_00,
        b'{"name": ' + b'{"a": ' * 20 + b"1" + b"}" * 21,
        '{"name": "x"}'.encode("utf-16"),
        b'{"name": "\xff"}',
        b"9" * 5000,
    ],
)
def test_what_two_parsers_could_read_differently_is_no_body(user_browser: Browser, body: bytes) -> None:
    headers = {"X-CSRF-Token": user_browser.csrf_token(), "Content-Type": "application/json"}
    response = user_browser.client.patch(ME, data=body, headers=headers)
    assert (response.status_code, response.get_json()["code"]) == (400, "malformed_body")


def test_a_user_sees_all_sessions_and_which_is_this_one(factory: Factory, user: Any) -> None:
    here, there = factory.sign_in(user), factory.sign_in(user)
    items = here.get(f"{ME}/sessions").get_json()["items"]
    assert [item["current"] for item in items] == [False, True]
    assert items[0].keys() == {"id", "ip", "user_agent", "created_at", "last_seen_at", "current"}
    assert [item["current"] for item in there.get(f"{ME}/sessions").get_json()["items"]] == [True, False]


def test_a_user_ends_one_session(factory: Factory, user: Any) -> None:
    here, there = factory.sign_in(user), factory.sign_in(user)
    current = next(item for item in there.get(f"{ME}/sessions").get_json()["items"] if item["current"])
    assert here.delete(f"{ME}/sessions/{current['id']}").status_code == 204
    assert there.get(ME).status_code == 401
    gone = here.delete(f"{ME}/sessions/{current['id']}")
    assert (gone.status_code, gone.get_json()["code"]) == (404, "session_not_found")
    own = here.get(f"{ME}/sessions").get_json()["items"][0]
    assert here.delete(f"{ME}/sessions/{own['id']}").status_code == 204
    assert here.client.get_cookie("session") is None


def test_a_user_ends_the_other_sessions(factory: Factory, user: Any) -> None:
    here, there, elsewhere = factory.sign_in(user), factory.sign_in(user), factory.sign_in(factory.user())
    assert here.delete(f"{ME}/sessions").status_code == 204
    assert [browser.get(ME).status_code for browser in (here, there, elsewhere)] == [200, 401, 200]


def test_nobody_ends_the_session_of_somebody_else_as_their_own(factory: Factory, user_browser: Browser) -> None:
    other = factory.sign_in(factory.user())
    session = other.get(f"{ME}/sessions").get_json()["items"][0]
    assert user_browser.delete(f"{ME}/sessions/{session['id']}").status_code == 404
    assert user_browser.delete(f"{ME}/sessions/{uuid.uuid4()}").status_code == 404
    assert user_browser.delete(f"{ME}/sessions/%00").status_code == 404
    assert other.get(ME).status_code == 200


def test_a_long_export_comes_in_pieces_and_whole(
    app: Flask, user_browser: Browser, user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.services.audit.ABOUT_PAGE", 10)
    with app.app_context(), transaction() as writing:
        instant = now()
        entries = [
            {"action": f"test.{number}", "target": str(user.id), "created_at": instant, "details": {"[": "]"}}
            for number in range(35)
        ]
        writing.execute(sa.insert(AuditEntry), entries)
    response = user_browser.client.get(f"{ME}/export", base_url=user_browser.base_url)
    pieces = list(response.iter_encoded())
    assert len(pieces) > 4
    export = json.loads(b"".join(pieces))
    assert [entry["action"] for entry in export["audit"]][-35:] == [f"test.{number}" for number in range(35)]
    assert len({entry["id"] for entry in export["audit"]}) == len(export["audit"])
    assert {"user", "sessions"} < export.keys()


def test_a_user_has_so_many_sessions_and_the_oldest_end(
    factory: Factory, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.services.sessions.SESSIONS_MAX", 3)
    user = factory.user()
    browsers = []
    for _ in range(5):
        clock.advance(1)
        browsers.append(factory.sign_in(user))
    assert [browser.get(ME).status_code for browser in browsers] == [401, 401, 200, 200, 200]
    assert len(browsers[-1].get(f"{ME}/sessions").get_json()["items"]) == 3


def test_of_too_many_sessions_from_former_days_the_newest_are_listed_and_the_next_sign_in_ends_the_others(
    factory: Factory, clock: Clock, user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    browsers = []
    for _ in range(5):
        clock.advance(1)
        browsers.append(factory.sign_in(user))
    monkeypatch.setattr("app.services.sessions.SESSIONS_MAX", 3)
    listed = browsers[-1].get(f"{ME}/sessions").get_json()["items"]
    assert [entry["current"] for entry in listed] == [True, False, False]
    clock.advance(1)
    assert len(factory.sign_in(user).get(f"{ME}/sessions").get_json()["items"]) == 3


def test_many_who_sign_in_at_once_have_no_more_sessions(
    app: Flask, factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.services.sessions.SESSIONS_MAX", 3)
    user = factory.user()
    threads = [threading.Thread(target=factory.sign_in, args=(user,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    with app.app_context():
        query = sa.select(sa.func.count()).select_from(Session).where(Session.user_id == user.id)
        assert db.session.scalar(query) == 3


def test_the_export_holds_everything_about_the_caller_and_no_secret(user_browser: Browser, user: Any) -> None:
    user_browser.patch(ME, {"name": "Ada"})
    export = user_browser.get(f"{ME}/export")
    assert export.get_json().keys() == {
        "user",
        "sessions",
        "mails",
        "links",
        "invitations",
        "extensions",
        "left_out",
        "audit",
    }
    assert export.get_json()["user"]["email"] == user.email
    actions = [entry["action"] for entry in export.get_json()["audit"]]
    assert actions == ["user.created", "session.started", "user.renamed"]
    assert "argon2" not in export.text
    assert "token" not in export.text
    assert [mail["template"] for mail in export.get_json()["mails"]] == ["new_device"]


def test_the_export_holds_nothing_of_others(app: Flask, factory: Factory, user: Any, user_browser: Browser) -> None:
    others = factory.sign_in(factory.admin())
    others.post("/api/v1/auth/email/change", {"new_email": "new@example.com"})
    others.post("/api/v1/invitations", {"email": "invited@example.com"})
    with app.app_context():
        assert db.session.scalars(sa.select(MailToken.email)).all()
        assert db.session.scalars(sa.select(Invitation.email)).all() == ["invited@example.com"]
    export = user_browser.get(f"{ME}/export").get_json()
    assert {mail["recipient"] for mail in export["mails"]} == {user.email}
    assert (export["links"], export["invitations"]) == ([], [])


@pytest.fixture
def leaving_app(make_app: Callable[..., Flask]) -> Flask:
    """Without a time of grace."""
    return make_app(DELETION_GRACE_DAYS="0")


def test_deleting_the_own_account_leaves_nothing_but_the_audit_trail(leaving_app: Flask) -> None:
    factory = Factory(leaving_app)
    user, admin_browser = factory.user(), factory.sign_in(factory.admin())
    user_browser, other = factory.sign_in(user), factory.sign_in(user)
    assert user_browser.delete(ME).status_code == 204
    assert user_browser.client.get_cookie("session") is None
    assert user_browser.client.get_cookie("device") is None
    assert other.get(ME).status_code == 401
    login = Browser(leaving_app).post("/api/v1/auth/login", {"email": user.email, "password": PASSWORD})
    assert login.status_code == 401
    assert admin_browser.get(f"/api/v1/users/{user.id}").status_code == 404
    trail = admin_browser.get(f"/api/v1/audit?target={user.id}").get_json()["items"]
    assert trail[0]["action"] == "user.deleted"
    assert {entry["ip"] for entry in trail[1:]} == {None}
    again = Browser(leaving_app).post("/api/v1/auth/register", {"email": user.email, "password": PASSWORD})
    assert again.status_code == 201


def test_the_last_administrator_cannot_leave(admin_browser: Browser, factory: Factory) -> None:
    refused = admin_browser.delete(ME)
    assert (refused.status_code, refused.get_json()["code"]) == (409, "last_admin")
    factory.admin()
    assert admin_browser.delete(ME).status_code == 204


def test_a_sessions_user_agent_is_kept_and_shown_without_control_characters(factory: Factory, browser: Browser) -> None:
    sent = "curl\x1b[31m\x00\x07\r\n\x7f\x85\x9b1m/8"
    body = {"email": factory.user().email, "password": PASSWORD}
    answer = browser.post("/api/v1/auth/login", body, environ_overrides={"HTTP_USER_AGENT": sent})
    assert answer.status_code == 200
    (session,) = browser.get(f"{ME}/sessions").get_json()["items"]
    assert session["user_agent"] == r"curl\x1b[31m\x00\x07\r\n\x7f\x85\x9b1m/8"
    with factory.app.app_context():
        assert db.session.scalars(sa.select(Session.user_agent)).all() == [session["user_agent"]]
