"""Mails as administrators see them."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import sqlalchemy as sa

from app.extensions import transaction
from app.mail import MailRefused
from app.models import OutboxMessage
from app.services import outbox
from tests.services.test_outbox import FaultyTransport, deliver, queue

if TYPE_CHECKING:
    from flask import Flask

    from gatehouse.testing import Browser, Clock, Factory, Mailbox

OUTBOX = "/api/v1/outbox"


def forget_notices(app: Flask) -> None:
    """Delete the notices of signing in."""
    with app.app_context(), transaction() as writing:
        writing.connection().execute(sa.delete(OutboxMessage).where(OutboxMessage.template == "new_device"))


def test_mails_are_listed_newest_first_page_by_page_and_not_what_they_say(
    app: Flask, factory: Factory, mailbox: Mailbox
) -> None:
    for number in range(3):
        with app.app_context(), transaction():
            outbox.queue(
                "email_changed", to=f"user{number}@example.com", new_email="x@example.com", not_me_link="secret"
            )
    browser = factory.sign_in_with("outbox:read")
    forget_notices(app)
    page = browser.get(f"{OUTBOX}?limit=2").get_json()
    assert [each["recipient"] for each in page["items"]] == ["user2@example.com", "user1@example.com"]
    rest = browser.get(f"{OUTBOX}?limit=2&cursor={page['next_cursor']}").get_json()
    assert [each["recipient"] for each in rest["items"]] == ["user0@example.com"]
    assert rest["next_cursor"] is None
    assert page["items"][0].keys() == {
        *("id", "template", "recipient", "state", "attempts", "last_error", "created_at", "due_at", "finished_at")
    }
    assert (page["items"][0]["template"], page["items"][0]["state"]) == ("email_changed", "waiting")
    assert "secret" not in str(page)
    mailbox.deliver()
    assert browser.get(f"{OUTBOX}?state=waiting").get_json()["items"] == []
    assert len(browser.get(f"{OUTBOX}?state=sent").get_json()["items"]) == 3
    refused = browser.get(f"{OUTBOX}?state=lost")
    assert (refused.status_code, refused.get_json()["code"]) == (422, "invalid_input")


def test_a_mail_that_was_given_up_is_sent_again_and_the_trail_says_who_asked(
    app: Flask, factory: Factory, admin_browser: Browser, mailbox: Mailbox
) -> None:
    browser = factory.sign_in_with("outbox:read", "outbox:write")
    forget_notices(app)
    queue(app)
    assert deliver(app, FaultyTransport(MailRefused("550 no"))) == "dead"
    (dead,) = browser.get(f"{OUTBOX}?state=dead").get_json()["items"]
    assert dead["last_error"] == "550 no"
    answer = browser.post(f"{OUTBOX}/{dead['id']}/retry")
    assert (answer.status_code, answer.get_json()["state"]) == (200, "waiting")
    again = browser.post(f"{OUTBOX}/{dead['id']}/retry")
    assert (again.status_code, again.get_json()["code"]) == (409, "not_dead")
    assert mailbox.deliver() == ["sent"]
    unknown = browser.post(f"{OUTBOX}/{uuid.uuid4()}/retry")
    assert (unknown.status_code, unknown.get_json()["code"]) == (404, "mail_not_found")
    (entry,) = admin_browser.get("/api/v1/audit?action=mail.retried").get_json()["items"]
    assert entry["target"] == dead["id"]


def test_only_whoever_may_sees_and_retries_mails(factory: Factory, browser: Browser) -> None:
    path = f"{OUTBOX}/{uuid.uuid4()}/retry"
    assert browser.get(OUTBOX).status_code == 401
    assert factory.sign_in_with("audit:read").get(OUTBOX).status_code == 403
    assert factory.sign_in_with("outbox:read").post(path).status_code == 403


def test_the_health_check_tells_of_mail_that_waits_for_long(app: Flask, clock: Clock, browser: Browser) -> None:
    queue(app)
    assert read_mail_check(browser) == ("ok", "ok")
    clock.advance(301)
    # It is looked at every few seconds only.
    assert read_mail_check(browser) == ("ok", "ok")
    app.extensions["mail_state"] = (0.0, "")
    assert read_mail_check(browser) == ("degraded", "degraded")
    assert deliver(app, FaultyTransport()) == "sent"
    app.extensions["mail_state"] = (0.0, "")
    assert read_mail_check(browser) == ("ok", "ok")


def read_mail_check(browser: Browser) -> tuple[str, str]:
    """Return the state of mail and of all by the health check, which never fails because of mail."""
    answer = browser.get("/readyz")
    assert answer.status_code == 200
    body = answer.get_json()
    return body["checks"]["mail"], body["status"]
