"""Mailed links that many use at the same instant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from app.extensions import db
from app.models import OutboxMessage, Session, User
from app.security import Actor, Client
from app.services import accounts, email_changes, passwords, recovery, registrations
from app.services.accounts import EmailTaken, InvalidCredentials
from app.services.mail_tokens import InvalidToken
from app.services.sessions import SessionNotFound
from gatehouse.testing.factories import PASSWORD, Factory
from gatehouse.testing.mailbox import Mailbox
from tests.services.test_at_once import run_at_once

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flask import Flask

TRIES = 50
ROUNDS = 6
NEW = "marble anchor violet thimble"
CLIENT = Client(ip="127.0.0.1", user_agent="")


def make_big_app(make_app: Callable[..., Flask]) -> Flask:
    """Return an application that checks so many passwords at once that none of the tries is refused for that."""
    return make_app(THREADS=str(2 * TRIES), PASSWORD_HASHING_CONCURRENCY=str(TRIES))


def mail_reset(app: Flask, mailbox: Mailbox, user: Any) -> str:
    """Return the token of a link that a user was mailed."""
    with app.app_context():
        recovery.request_reset(email=user.email, asked_in="en")
    mailbox.deliver()
    return mailbox.find_token(user.email)


def mail_change(app: Flask, mailbox: Mailbox, user: Any, new_email: str) -> str:
    """Return the token of a link with which a user takes another address."""
    with app.app_context():
        actor = Actor(user_id=user.id, permissions=frozenset())
        email_changes.request_email_change(new_email=new_email, asked_in="en", actor=actor)
    mailbox.deliver()
    return mailbox.find_token(new_email)


def sign_in(app: Flask, user: Any) -> Any:
    """Return a new session's row."""
    with app.app_context():
        accounts.authenticate(email=user.email, password=PASSWORD, is_remembered=False, client=CLIENT)
        return db.session.scalars(sa.select(Session).where(Session.user_id == user.id)).one()


def count_mails(app: Flask, template: str) -> int:
    """Return how many mails of a template were queued."""
    with app.app_context():
        return db.session.scalar(sa.select(sa.func.count()).where(OutboxMessage.template == template)) or 0


def assert_one_did_it(outcomes: list[object]) -> None:
    """Make sure that one try succeeded, and all others proved nothing."""
    failed = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert len(failed) == len(outcomes) - 1, outcomes
    assert all(isinstance(error, InvalidToken) for error in failed), outcomes


def test_of_fifty_who_reset_a_password_with_one_link_one_does(make_app: Callable[..., Flask], tmp_path: Path) -> None:
    app = make_big_app(make_app)
    user = Factory(app).user()
    token = mail_reset(app, Mailbox(app, tmp_path / "mail"), user)

    def reset() -> object:
        return recovery.reset_password(token=token, new_password=NEW, client=CLIENT)

    assert_one_did_it(run_at_once(app, *[reset] * TRIES))
    assert count_mails(app, "password_changed") == 1


def test_a_link_resets_nothing_when_its_owner_gets_in_while_the_new_password_is_hashed(
    app: Flask, factory: Factory, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = factory.user()
    token = mail_reset(app, mailbox, user)

    def hash_slowly(*args: Any, **kwargs: Any) -> str:
        sign_in(app, user)
        return accounts.hash_new_password(*args, **kwargs)

    monkeypatch.setattr(recovery, "hash_new_password", hash_slowly)
    with app.app_context(), pytest.raises(InvalidToken):
        recovery.reset_password(token=token, new_password=NEW, client=CLIENT)


def test_of_fifty_who_say_with_one_link_that_it_was_somebody_else_one_is_believed(
    make_app: Callable[..., Flask], tmp_path: Path
) -> None:
    app = make_big_app(make_app)
    user = Factory(app).user()
    mailbox = Mailbox(app, tmp_path / "mail")
    sign_in(app, user)
    mailbox.deliver()
    token = mailbox.find_token(user.email)
    assert_one_did_it(run_at_once(app, *[lambda: recovery.reject_change(token=token, client=CLIENT)] * TRIES))
    assert count_mails(app, "set_password") == 1


def test_of_fifty_who_confirm_an_address_with_one_link_one_does(make_app: Callable[..., Flask], tmp_path: Path) -> None:
    app = make_big_app(make_app)
    user = Factory(app).user()
    token = mail_change(app, Mailbox(app, tmp_path / "mail"), user, "new@example.com")

    def confirm() -> object:
        return registrations.verify(token, caller_id=None, client=CLIENT)

    assert_one_did_it(run_at_once(app, *[confirm] * TRIES))
    assert count_mails(app, "email_changed") == 1


def test_of_two_who_take_one_address_at_once_one_gets_it(app: Flask, factory: Factory, mailbox: Mailbox) -> None:
    for number in range(ROUNDS):
        tokens = [mail_change(app, mailbox, factory.user(), f"new{number}@example.com") for _ in range(2)]

        def take(token: str) -> Callable[[], object]:
            return lambda: registrations.verify(token, caller_id=None, client=CLIENT)

        assert_one_did_it(run_at_once(app, *map(take, tokens)))


def test_of_a_reset_and_a_change_at_once_one_counts(app: Flask, factory: Factory, mailbox: Mailbox) -> None:
    for _ in range(ROUNDS):
        user = factory.user()
        session = sign_in(app, user)
        # Asked for after the sign-in, which would void it.
        token = mail_reset(app, mailbox, user)
        actor = Actor(user_id=user.id, permissions=frozenset(), session_id=session.id)
        change = {"current_password": PASSWORD, "new_password": NEW, "session_id": session.id, "actor": actor}
        outcomes = run_at_once(
            app,
            lambda token=token: recovery.reset_password(token=token, new_password=NEW, client=CLIENT),  # type: ignore[misc]
            lambda change=change: passwords.change_password(**change),  # type: ignore[misc]
        )
        failed = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
        assert [type(error) in {InvalidToken, InvalidCredentials, SessionNotFound} for error in failed] == [True]


def test_an_address_that_somebody_takes_while_its_owner_wants_it_back_has_one_account(
    app: Flask, factory: Factory, mailbox: Mailbox
) -> None:
    for number in range(ROUNDS):
        user = factory.user()
        confirm = mail_change(app, mailbox, user, f"thief{number}@example.com")
        with app.app_context():
            registrations.verify(confirm, caller_id=None, client=CLIENT)
        mailbox.deliver()
        token = mailbox.find_token(user.email)

        def register(email: str = user.email) -> object:
            return accounts.register(email=email, password=PASSWORD, name="", client=CLIENT)

        def reject(token: str = token) -> object:
            return recovery.reject_change(token=token, client=CLIENT)

        registered, rejected = run_at_once(app, register, reject)
        assert rejected is None
        with app.app_context():
            stored = db.session.get_one(User, user.id)
            assert (stored.email == user.email) is isinstance(registered, EmailTaken), registered
