"""How often the database is asked: a read of one statement is one round trip, and keeps its deadlines."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from app.database import READS_ONCE, ConnectionLost, DatabaseUnavailable
from app.extensions import db
from gatehouse.testing.factories import Factory

from .harness.proxy import Fault
from .work import get_connection_id, insert, read_numbers, sleep_statement

if TYPE_CHECKING:
    from flask import Flask

    from .harness.proxy import Proxy

ONCE = {READS_ONCE: True}


def count_requests(sent: bytes, dialect: str) -> int:
    """Return how many requests are in what a client sent, each of which it waits for the answer to."""
    count = 0
    while sent:
        if dialect == "postgresql":
            # A kind, a length that counts itself, and the rest.
            count += sent[:1] == b"Q"
            sent = sent[1 + int.from_bytes(sent[1:5]) :]
        else:
            # A length, a number that begins at 0 with each request, and the rest.
            count += sent[3] == 0
            sent = sent[4 + int.from_bytes(sent[:3], "little") :]
    return count


def test_a_signed_in_request_asks_the_database_once(proxied_app: tuple[Flask, Proxy]) -> None:
    app, proxy = proxied_app
    browser = Factory(app).sign_in(Factory(app).user())
    for _ in range(2):
        proxy.sent.clear()
        assert browser.get("/api/v1/users/me").status_code == 200
    with app.app_context():
        assert count_requests(bytes(proxy.sent), db.engine.dialect.name) == 1


def test_a_read_of_one_statement_ends_at_its_deadline(engine: sa.Engine) -> None:
    begun_at = time.monotonic()
    with engine.connect().execution_options(**ONCE) as connection, pytest.raises(DatabaseUnavailable):
        connection.execute(sa.text(sleep_statement(engine, 30)))
    assert time.monotonic() - begun_at < 2


def test_a_read_of_one_statement_that_is_never_answered_ends_at_its_deadline(
    proxied_engine: sa.Engine, proxy: Proxy
) -> None:
    with proxied_engine.connect().execution_options(**ONCE) as connection:
        connection.execute(sa.text("SELECT 1"))
        proxy.fault = Fault(is_silent=True)
        begun_at = time.monotonic()
        with pytest.raises(ConnectionLost):
            connection.execute(sa.text("SELECT 1"))
    assert time.monotonic() - begun_at < 2


def test_a_transaction_after_a_read_of_one_statement_is_one(engine: sa.Engine) -> None:
    with engine.connect().execution_options(**ONCE) as connection:
        reader = get_connection_id(connection)
    with engine.connect() as connection:
        assert get_connection_id(connection) == reader
        connection.execute(sa.text("INSERT INTO entries VALUES (1)"))
        connection.rollback()
    assert read_numbers(engine) == []
    assert insert(engine, 2) == 2
    assert read_numbers(engine) == [2]
