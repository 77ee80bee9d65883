"""The clean-up deletes what has run out, and nothing else."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from app.extensions import db, transaction
from app.models import Base, GuessCount, Invitation, MailToken, OutboxMessage, Registration, Session
from app.services import cleanup
from app.worker import Worker
from tests.services.test_at_once import run_at_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask

    from gatehouse.testing import Clock, Factory

DAY = datetime.timedelta(days=1)
EXPIRING: dict[str, tuple[type[Base], dict[str, Any]]] = {
    "sessions": (Session, {"ip": "", "user_agent": "", "is_remembered": False}),
    "mail_tokens": (MailToken, {"purpose": "reset_password", "email": "ada@example.com"}),
    "registrations": (Registration, {}),
    "invitations": (Invitation, {}),
}


def store(app: Flask, model: type[Base], *rows: dict[str, Any]) -> None:
    with app.app_context(), transaction() as writing:
        for row in rows:
            writing.add(model(**row))


def count(app: Flask, model: type[Base]) -> int:
    with app.app_context():
        return db.session.scalar(sa.select(sa.func.count()).select_from(model)) or 0


def clean(app: Flask, table: str) -> int:
    with app.app_context():
        return cleanup.delete_expired(table)


def make_rows(factory: Factory, table: str, *ages: datetime.timedelta, instant: datetime.datetime) -> None:
    """Store rows that ran out so long ago."""
    model, values = EXPIRING[table]
    user_id = factory.user().id
    for number, age in enumerate(ages):
        row = values | {"token_hash": f"{table}{number}", "expires_at": instant - age}
        row |= {"user_id": user_id} if hasattr(model, "user_id") else {"email": f"{number}@example.com"}
        store(factory.app, model, row)


@pytest.mark.parametrize("table", ["sessions", "mail_tokens", "registrations"])
def test_what_has_run_out_goes_and_what_still_counts_stays(
    app: Flask, factory: Factory, clock: Clock, table: str
) -> None:
    second = datetime.timedelta(seconds=1)
    make_rows(factory, table, second, DAY, -second, -DAY, instant=clock.now())
    assert clean(app, table) == 2
    assert clean(app, table) == 0
    assert count(app, EXPIRING[table][0]) == 2


def test_an_invitation_stays_for_some_days_to_be_sent_again(app: Flask, factory: Factory, clock: Clock) -> None:
    make_rows(factory, "invitations", 29 * DAY, 31 * DAY, instant=clock.now())
    assert clean(app, "invitations") == 1
    assert count(app, Invitation) == 1


def test_few_old_failures_are_forgotten_and_those_that_block_an_account_never(app: Flask, clock: Clock) -> None:
    old, new = clock.now() - 31 * DAY, clock.now() - 29 * DAY
    rows = [(old, 1), (old, 10), (old, 11), (old, 100), (new, 1)]
    store(
        app,
        GuessCount,
        *({"account_hash": f"{number}", "failed_at": at, "failures": n} for number, (at, n) in enumerate(rows)),
    )
    assert clean(app, "guess_counts") == 2
    with app.app_context():
        kept = db.session.scalars(sa.select(GuessCount.failures)).all()
    assert sorted(kept) == [1, 11, 100]


def test_what_blocks_an_account_stays_where_few_failures_do(make_app: Callable[..., Flask], clock: Clock) -> None:
    app, old = make_app(GUESSES_MAX="10"), clock.now() - 31 * DAY
    store(app, GuessCount, *({"account_hash": f"{n}", "failed_at": old, "failures": n} for n in (9, 10)))
    assert clean(app, "guess_counts") == 1
    assert count(app, GuessCount) == 1


def test_mails_are_forgotten_some_days_after_they_were_finished_and_never_while_they_wait(
    app: Flask, clock: Clock
) -> None:
    created = clock.now() - 20 * DAY
    states = [("waiting", None), ("sent", 8), ("dead", 8), ("dropped", 8), ("sent", 6), ("dead", 6)]
    store(
        app,
        OutboxMessage,
        *(
            {
                "template": "account_deleted",
                "recipient": "ada@example.com",
                "state": state,
                "created_at": created,
                "give_up_at": created,
                "finished_at": None if days is None else clock.now() - days * DAY,
            }
            for state, days in states
        ),
    )
    assert clean(app, "outbox") == 3
    with app.app_context():
        kept = db.session.scalars(sa.select(OutboxMessage.state)).all()
    assert sorted(kept) == ["dead", "sent", "waiting"]


def test_it_takes_a_few_rows_at_a_time_until_all_have_gone(
    app: Flask, factory: Factory, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleanup, "ROWS_AT_ONCE", 3)
    make_rows(factory, "mail_tokens", *[DAY] * 7, instant=clock.now())
    assert clean(app, "mail_tokens") == 3
    assert count(app, MailToken) == 4
    Worker(app).clean_up()
    assert count(app, MailToken) == 0


def test_workers_that_clean_up_at_once_do_no_harm(app: Flask, factory: Factory, clock: Clock) -> None:
    make_rows(factory, "mail_tokens", *[DAY] * 40, *[-DAY] * 3, instant=clock.now())
    outcomes = run_at_once(app, *[lambda: cleanup.delete_expired("mail_tokens")] * 4)
    assert all(isinstance(outcome, int) for outcome in outcomes), outcomes
    assert count(app, MailToken) == 3


def test_an_invitation_that_was_just_sent_again_stays(
    app: Flask, factory: Factory, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_rows(factory, "invitations", 31 * DAY, instant=clock.now())

    def renew() -> object:
        # Between the look and the deletion.
        monkeypatch.undo()
        with db.engine.connect().execution_options(is_write=True) as connection, connection.begin():
            connection.execute(sa.update(Invitation).values(expires_at=clock.now() + DAY))
        return transaction()

    monkeypatch.setattr(cleanup, "transaction", renew)
    with app.app_context():
        cleanup.delete_expired("invitations")
    assert count(app, Invitation) == 1
