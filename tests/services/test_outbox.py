"""The outbox: claims, leases, retries, and what becomes of each mail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from app.extensions import db, get_mail_signal, transaction
from app.mail import MailRefused, MailUnavailable
from app.models import OutboxMessage
from app.services import deliveries, outbox
from tests.services.test_at_once import run_at_once

if TYPE_CHECKING:
    import uuid
    from email.message import EmailMessage

    from flask import Flask

    from gatehouse.testing import Clock, Mailbox

LEASE_SECONDS = 30
ADA = "ada@example.com"


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
