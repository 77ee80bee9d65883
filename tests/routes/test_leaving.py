"""Leaving: an account goes after a time of grace, in which its owner can undo it."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from app.extensions import db, transaction
from app.models import AuditEntry, Invitation, OutboxMessage, Registration, User
from app.services import leaving
from app.worker import Worker
from gatehouse.testing.factories import PASSWORD, Browser, Factory
from gatehouse.testing.mailbox import Mailbox

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable
    from pathlib import Path

    import pytest
    from flask import Flask

    from gatehouse.testing.clock import Clock

ME = "/api/v1/users/me"
UNDO = "/api/v1/auth/deletion/undo"
GRACE_SECONDS = 14 * 24 * 3600


def sign_in(app: Flask, user: Any) -> Any:
    browser = Browser(app)
    answer = browser.post("/api/v1/auth/login", {"email": user.email, "password": PASSWORD})
    return browser if answer.status_code == 200 else None


def delete_due(app: Flask) -> int:
    with app.app_context():
        return leaving.delete_due()


def list_mails(app: Flask) -> list[tuple[str, str]]:
    with app.app_context():
        rows = db.session.execute(sa.select(OutboxMessage.template, OutboxMessage.recipient))
        return [(row.template, row.recipient) for row in rows]


def test_an_account_goes_after_its_time_of_grace(app: Flask, factory: Factory, user: Any, clock: Clock) -> None:
    browser, other = factory.sign_in(user), factory.sign_in(user)
    # In the trail this is of nobody, about the user.
    assert Browser(app).post("/api/v1/auth/login", {"email": user.email, "password": "wrong"}).status_code == 401
    assert browser.delete(ME).status_code == 204
    assert [each.get(ME).status_code for each in (browser, other)] == [401, 401]
    again = Browser(app).post("/api/v1/auth/register", {"email": user.email, "password": PASSWORD})
    assert again.get_json()["code"] == "email_taken"
    clock.advance(GRACE_SECONDS - 60)
    assert delete_due(app) == 0
    clock.advance(120)
    assert [delete_due(app), delete_due(app)] == [1, 0]
    assert sign_in(app, user) is None
    with app.app_context():
        assert db.session.get(User, user.id) is None
        about = sa.or_(AuditEntry.actor_id == user.id, AuditEntry.target == str(user.id))
        entries = db.session.scalars(sa.select(AuditEntry).where(about).order_by(AuditEntry.id)).all()
        assert entries[-1].action == "user.deleted"
        assert {entry.ip for entry in entries} == {None}
    # Nothing is left with the address but the mail that says so.
    assert list_mails(app) == [("account_deleted", user.email)]
    assert Browser(app).post("/api/v1/auth/register", {"email": user.email, "password": PASSWORD}).status_code == 201


def test_the_worker_that_cleans_up_deletes_it(app: Flask, user: Any, user_browser: Browser, clock: Clock) -> None:
    assert user_browser.delete(ME).status_code == 204
    clock.advance(GRACE_SECONDS + 60)
    Worker(app).clean_up()
    with app.app_context():
        assert db.session.get(User, user.id) is None


def test_its_owner_is_told_when_and_can_undo_it(app: Flask, user: Any, user_browser: Browser, clock: Clock) -> None:
    user_browser.delete(ME)
    assert list_mails(app)[-1] == ("account_deletion", user.email)
    browser = sign_in(app, user)
    due_at = datetime.datetime.fromisoformat(browser.get(ME).get_json()["deletion_due_at"])
    assert abs((due_at - clock.now()).total_seconds() - GRACE_SECONDS) < 60
    assert [browser.post(UNDO, {}).status_code for _ in range(2)] == [204, 204]
    assert browser.get(ME).get_json()["deletion_due_at"] is None
    clock.advance(GRACE_SECONDS + 60)
    assert delete_due(app) == 0
    assert sign_in(app, user) is not None


def test_whoever_undoes_it_while_the_due_are_looked_up_stays(
    app: Flask, user: Any, user_browser: Browser, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_browser.delete(ME)
    clock.advance(GRACE_SECONDS + 60)
    browser, list_due = sign_in(app, user), leaving._list_due

    def list_due_and_be_late() -> list[uuid.UUID]:
        due = list_due()
        assert browser.post(UNDO, {}).status_code == 204
        return due

    monkeypatch.setattr(leaving, "_list_due", list_due_and_be_late)
    assert delete_due(app) == 0
    assert sign_in(app, user) is not None


def test_links_that_were_mailed_before_are_void(app: Flask, user_browser: Browser, mailbox: Mailbox) -> None:
    user_browser.post("/api/v1/auth/email/change", {"new_email": "new@example.com"})
    mailbox.deliver()
    assert user_browser.delete(ME).status_code == 204
    used = Browser(app).post("/api/v1/auth/email/verify", {"token": mailbox.find_token("new@example.com")})
    assert (used.status_code, used.get_json()["code"]) == (422, "invalid_token")


def test_an_administrator_who_leaves_is_not_counted_on(app: Flask, factory: Factory, clock: Clock) -> None:
    first, second = factory.admin(), factory.admin()
    assert factory.sign_in(first).delete(ME).status_code == 204
    refused = factory.sign_in(second).delete(ME)
    assert (refused.status_code, refused.get_json()["code"]) == (409, "last_admin")
    clock.advance(GRACE_SECONDS + 60)
    assert delete_due(app) == 1


def test_who_cannot_go_when_the_time_is_over_stays(app: Flask, factory: Factory, clock: Clock) -> None:
    leaver, other = factory.admin(), factory.admin()
    assert factory.sign_in(leaver).delete(ME).status_code == 204
    with app.app_context(), transaction() as writing:
        writing.execute(sa.delete(User).where(User.id == other.id))
    clock.advance(GRACE_SECONDS + 60)
    assert delete_due(app) == 0
    assert sign_in(app, leaver) is not None


def test_what_was_queued_for_the_address_goes_with_the_account(
    make_app: Callable[..., Flask],
) -> None:
    app = make_app(DELETION_GRACE_DAYS="0")
    factory = Factory(app)
    user = factory.user()
    Browser(app).post("/api/v1/auth/email/verify/resend", {"email": user.email})
    assert ("verify_email", user.email) in list_mails(app)
    assert factory.sign_in(user).delete(ME).status_code == 204
    assert list_mails(app) == [("account_deleted", user.email)]


def test_what_was_promised_to_the_address_goes_with_the_account(make_app: Callable[..., Flask], tmp_path: Path) -> None:
    """Whoever reads the address later, after a new registration or an invitation, gets nothing of before."""
    app = make_app(DELETION_GRACE_DAYS="0", EMAIL_VERIFICATION="required")
    factory = Factory(app)
    email = "ada@example.com"
    Browser(app).post("/api/v1/auth/register", {"email": email, "password": PASSWORD})
    Mailbox(app, tmp_path / "mail").deliver()
    invited = factory.sign_in(factory.admin()).post("/api/v1/invitations", {"email": email})
    assert invited.status_code == 201
    assert factory.sign_in(factory.user(email=email)).delete(ME).status_code == 204
    with app.app_context():
        for model in (Registration, Invitation):
            assert db.session.scalars(sa.select(model.email)).all() == []
