"""The outbox: claims, leases, retries, and what becomes of each mail."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from app.extensions import db, get_mail_signal, transaction
from app.mail import MailRefused, MailUnavailable
from app.models import OutboxMessage
from app.security import Actor, unseal
from app.services import deliveries, mails, outbox
from gatehouse.testing import Browser, Mailbox
from tests.services.test_at_once import run_at_once

if TYPE_CHECKING:
    from collections.abc import Callable
    from email.message import EmailMessage
    from pathlib import Path

    from flask import Flask

    from gatehouse.testing import Clock, Factory

LEASE_SECONDS = 30
ADA = "ada@example.com"
OTHER_KEY = "mWx3vN8Qk1rT6yUpZs9dFgHjKlBcVaEo2i5t7w0R4uXq"


class FaultyTransport:
    """Fails as it is told to, and keeps what it was given otherwise."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.sent: list[EmailMessage] = []

    def send(self, message: EmailMessage) -> None:
        """Take ``message``, or fail."""
        if self.error is not None:
            raise self.error
        self.sent.append(message)

    def check(self) -> None:
        """Do nothing."""


def queue(app: Flask, template: str = "account_deleted", *, to: str = ADA, **context: str | None) -> None:
    """Queue a mail; this template shows nothing but what is in every mail."""
    with app.app_context(), transaction():
        outbox.queue(template, to=to, **context)


def claim(app: Flask) -> outbox.ClaimedMail | None:
    """Claim the mail that is due, if there is one."""
    with app.app_context():
        due = outbox.list_due(10)
        return outbox.claim(due[0], lease_seconds=LEASE_SECONDS) if due else None


def read_rows(app: Flask) -> list[Any]:
    """Return what is stored, in the order in which it was queued."""
    with app.app_context(), db.reading() as reading:
        return list(reading.execute(sa.select(*OutboxMessage.__table__.columns).order_by(OutboxMessage.created_at)))


def deliver(app: Flask, transport: FaultyTransport) -> str | None:
    """Claim the mail that is due, try to send it and return its state."""
    mail = claim(app)
    assert mail is not None, "no mail is due"
    with app.app_context():
        outcome = deliveries.send(mail, transport)
        assert outcome is not None
        return deliveries.note(mail, outcome)


def test_a_mail_is_sent_once_and_what_it_said_is_forgotten(app: Flask, mailbox: Mailbox) -> None:
    queue(app)
    assert mailbox.deliver() == ["sent"]
    assert mailbox.deliver() == []
    (row,) = read_rows(app)
    assert (row.state, row.sealed_context, row.attempts, row.last_error) == ("sent", "", 1, None)
    assert row.finished_at is not None
    (mail,) = mailbox.read(ADA)
    assert str(row.id) in mail["Message-ID"]


def test_a_mail_of_a_transaction_that_is_undone_is_not_sent(app: Flask, mailbox: Mailbox) -> None:
    def fail() -> None:
        with transaction():
            outbox.queue("account_deleted", to=ADA)
            raise LookupError

    with app.app_context():
        with pytest.raises(LookupError):
            fail()
        assert not get_mail_signal().is_set()
    assert mailbox.deliver() == []


def test_whoever_waits_for_mail_is_woken_by_the_commit_and_not_before(app: Flask) -> None:
    with app.app_context():
        with transaction():
            outbox.queue("account_deleted", to=ADA)
            assert not get_mail_signal().is_set()
        assert get_mail_signal().is_set()
        get_mail_signal().clear()
        with transaction():
            pass
        assert not get_mail_signal().is_set()


def test_of_many_who_claim_one_mail_at_once_one_gets_it(app: Flask) -> None:
    for _ in range(8):
        queue(app)
        with app.app_context():
            (due,) = outbox.list_due(10)

        def claim_it(mail_id: uuid.UUID = due) -> object:
            return outbox.claim(mail_id, lease_seconds=LEASE_SECONDS)

        outcomes = run_at_once(app, *[claim_it] * 4)
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["ClaimedMail", *["NoneType"] * 3], outcomes


def test_a_claimed_mail_is_due_again_only_when_its_lease_has_ended(app: Flask, clock: Clock) -> None:
    queue(app)
    first = claim(app)
    assert first is not None
    clock.advance(LEASE_SECONDS - 1)
    assert claim(app) is None
    clock.advance(2)
    second = claim(app)
    assert second is not None
    assert (second.id, second.attempts) == (first.id, 2)


@pytest.mark.parametrize("error", [None, MailRefused("550 no such user")])
def test_whoever_saw_a_mail_wait_and_comes_back_when_it_is_finished_gets_nothing(
    app: Flask, clock: Clock, error: Exception | None
) -> None:
    queue(app)
    with app.app_context():
        (due,) = outbox.list_due(10)
    deliver(app, FaultyTransport(error))
    clock.advance(LEASE_SECONDS + 1)
    with app.app_context():
        assert outbox.claim(due, lease_seconds=LEASE_SECONDS) is None


def test_whoever_comes_back_after_the_lease_changes_nothing(app: Flask, clock: Clock) -> None:
    queue(app, "verify_registration", name="", password_hash="x", stored_language=None)
    late = claim(app)
    assert late is not None
    clock.advance(LEASE_SECONDS + 1)
    assert claim(app) is not None
    with app.app_context():
        assert deliveries.send(late, FaultyTransport()) is None
        for outcome in (deliveries.Outcome("sent"), deliveries.Outcome("waiting", "away"), deliveries.Outcome("dead")):
            assert deliveries.note(late, outcome) is None
    (row,) = read_rows(app)
    assert (row.state, row.attempts, row.is_prepared) == ("waiting", 2, False)


def test_a_result_can_be_noted_again_when_the_first_answer_was_lost(app: Flask) -> None:
    queue(app)
    mail = claim(app)
    assert mail is not None
    with app.app_context():
        assert deliveries.note(mail, deliveries.Outcome("sent")) == "sent"
        assert deliveries.note(mail, deliveries.Outcome("sent")) is None
    assert read_rows(app)[0].state == "sent"


def test_a_mail_that_cannot_be_sent_now_waits_longer_each_time_and_never_over_six_hours(
    app: Flask, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.services.outbox.random.uniform", lambda _, longest: longest)
    queue(app)
    pauses = []
    for _ in range(14):
        assert deliver(app, FaultyTransport(MailUnavailable("away"))) == "waiting"
        (row,) = read_rows(app)
        assert row.last_error == "away"
        pauses.append((row.due_at - clock.now()).total_seconds())
        clock.advance(pauses[-1])
    assert pauses == [min(15 * 2**number, 6 * 3600) for number in range(14)]


def test_pauses_are_random_so_that_what_failed_together_does_not_come_back_together(app: Flask, clock: Clock) -> None:
    for _ in range(6):
        queue(app)
    for _ in range(6):
        assert deliver(app, FaultyTransport(MailUnavailable("away"))) == "waiting"
    pauses = {(row.due_at - clock.now()).total_seconds() for row in read_rows(app)}
    assert len(pauses) == 6
    assert all(0 <= pause <= 15 for pause in pauses)


def test_after_72_hours_a_mail_is_given_up_and_its_contents_are_kept(app: Flask, clock: Clock) -> None:
    queue(app)
    clock.advance(72 * 3600 - 60)
    assert deliver(app, FaultyTransport(MailUnavailable("away"))) == "waiting"
    clock.advance(120)
    assert deliver(app, FaultyTransport(MailUnavailable("still away"))) == "dead"
    (row,) = read_rows(app)
    assert (row.state, row.last_error) == ("dead", "still away")
    assert row.sealed_context
    assert row.finished_at == clock.now()


def test_a_mail_that_is_refused_is_given_up_at_once(app: Flask) -> None:
    queue(app)
    assert deliver(app, FaultyTransport(MailRefused("550 no such user"))) == "dead"
    assert claim(app) is None
    assert read_rows(app)[0].last_error == "550 no such user"


# --- what strangers ask for ---


def ask(app: Flask, *, to: str = ADA, template: str = "verify_registration") -> None:
    """Queue a mail as a stranger's request does."""
    context = {"name": "", "password_hash": None, "stored_language": None} if template == "verify_registration" else {}
    queue(app, template, to=to, **context)


def test_strangers_get_so_many_mails_an_hour_to_one_address_and_the_last_link_stays_of_use(
    make_app: Callable[..., Flask], clock: Clock, tmp_path: Path
) -> None:
    app = make_app(MAILS_PER_HOUR="3")
    mailbox = Mailbox(app, tmp_path / "mail")
    for _ in range(8):
        ask(app)
        clock.advance(60)
    ask(app, to="grace@example.com")
    assert mailbox.deliver() == ["sent"] * 3 + ["dropped"] * 5 + ["sent"]
    assert len(mailbox.read(ADA)) == 3
    assert use(app, mailbox.find_token(ADA))
    assert mailbox.deliver() == ["sent"], "the link to set a password, as nobody knows whose registration it was"
    # An hour after the first, one more goes; it is a window, not a block.
    clock.advance(3600 - 8 * 60 + 1)
    ask(app)
    ask(app)
    assert mailbox.deliver() == ["sent", "dropped"]


def test_whoever_has_one_kind_of_mail_sent_keeps_nobody_from_another(
    app: Flask, factory: Factory, mailbox: Mailbox
) -> None:
    factory.user(email=ADA)
    for _ in range(7):
        ask(app)
    ask(app, template="reset_password")
    assert mailbox.deliver() == ["sent"] * 5 + ["dropped"] * 2 + ["sent"]


def test_of_a_crowd_of_requests_at_least_one_is_answered_in_whatever_order_they_are_prepared(app: Flask) -> None:
    for number in range(6):
        address = f"user{number}@example.com"
        for _ in range(9):
            ask(app, to=address)
        states = [deliver(app, FaultyTransport()) for _ in range(9)]
        assert 1 <= states.count("sent") <= 5, states


def test_a_notice_that_nobody_asked_for_is_never_capped(app: Flask) -> None:
    transport = FaultyTransport()
    for _ in range(12):
        queue(app)
        assert deliver(app, transport) == "sent"


def test_of_two_mails_that_overtake_each_other_the_later_one_has_the_link_that_works(
    app: Flask, factory: Factory
) -> None:
    factory.user(email=ADA)
    ask(app, template="verify_email")
    ask(app, template="verify_email")
    with app.app_context():
        older, newer = sorted(outbox.list_due(10))
        transport = FaultyTransport()
        states = []
        for mail_id in (newer, older):
            mail = outbox.claim(mail_id, lease_seconds=LEASE_SECONDS)
            assert mail is not None
            outcome = deliveries.send(mail, transport)
            assert outcome is not None
            states.append(deliveries.note(mail, outcome))
    assert states == ["sent", "dropped"]
    assert use(app, find_link(transport.sent[0]).partition("#token=")[2])


def test_a_mail_that_is_sent_again_shows_the_same_link_under_the_same_id(app: Flask, clock: Clock) -> None:
    ask(app)
    lost = FaultyTransport()
    mail = claim(app)
    assert mail is not None
    with app.app_context():
        # It arrived, and its sender died before that was noted.
        assert deliveries.send(mail, lost) == deliveries.Outcome("sent")
    clock.advance(LEASE_SECONDS + 1)
    again = FaultyTransport()
    assert deliver(app, again) == "sent"
    assert [str(each["Message-ID"]) for each in lost.sent] == [str(each["Message-ID"]) for each in again.sent]
    assert find_link(lost.sent[0]) == find_link(again.sent[0])


def test_a_mail_to_nobody_is_dropped_and_what_it_said_is_forgotten(app: Flask) -> None:
    ask(app, template="reset_password")
    assert deliver(app, FaultyTransport()) == "dropped"
    (row,) = read_rows(app)
    assert row.sealed_context == ""
    assert row.last_error == "There is nobody to send it to, or nothing left to say."


def test_nothing_of_a_link_is_stored_in_the_clear_or_logged(app: Flask, capfd: pytest.CaptureFixture[str]) -> None:
    ask(app)
    transport = FaultyTransport(MailUnavailable("away"))
    assert deliver(app, transport) == "waiting"
    (row,) = read_rows(app)
    with app.app_context():
        link = json.loads(unseal(row.sealed_context))["context"]["link"]
    token = link.partition("#token=")[2]
    assert len(token) > 40
    assert token not in str(row)
    shown = capfd.readouterr()
    assert token not in shown.err + shown.out
    assert ADA not in shown.err


def test_a_mail_that_no_key_opens_is_given_up_with_a_word_on_what_to_do(
    app: Flask, make_app: Callable[..., Flask]
) -> None:
    queue(app)
    other = make_app(SECRET_KEY=OTHER_KEY)
    assert deliver(other, FaultyTransport()) == "dead"
    (row,) = read_rows(app)
    assert "SECRET_KEY_FALLBACKS" in row.last_error
    with app.app_context():
        mails.retry(row.id, actor=Actor.system())
    assert deliver(app, FaultyTransport()) == "sent"


def test_a_mail_that_cannot_be_made_is_tried_again_and_does_not_tell_what_it_said(app: Flask) -> None:
    queue(app, "no_such_template", secret="turnip")
    assert deliver(app, FaultyTransport()) == "waiting"
    assert "turnip" not in read_rows(app)[0].last_error


# --- what administrators do ---


def test_a_mail_that_is_retried_is_tried_for_as_long_as_a_new_one(app: Flask, clock: Clock) -> None:
    queue(app)
    clock.advance(80 * 3600)
    assert deliver(app, FaultyTransport(MailUnavailable("away"))) == "dead"
    (row,) = read_rows(app)
    with app.app_context():
        retried = mails.retry(row.id, actor=Actor.system())
        with pytest.raises(mails.NotDead):
            mails.retry(row.id, actor=Actor.system())
        with pytest.raises(mails.MailNotFound):
            mails.retry(uuid.uuid4(), actor=Actor.system())
    assert (retried.state, retried.attempts, retried.finished_at) == ("waiting", 0, None)
    clock.advance(71 * 3600)
    assert deliver(app, FaultyTransport(MailUnavailable("away"))) == "waiting"
    clock.advance(6 * 3600)
    assert deliver(app, FaultyTransport()) == "sent"


def use(app: Flask, token: str) -> bool:
    """Say whether a token that verifies an address works."""
    response = Browser(app).post("/api/v1/auth/email/verify", {"token": token})
    return response.status_code == 204


def find_link(mail: EmailMessage) -> str:
    """Return the link in a mail."""
    body = mail.get_body(("plain",))
    assert body is not None
    return next(line for line in str(body.get_content()).splitlines() if "#token=" in line)
