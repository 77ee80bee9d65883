"""Workers as processes: they share the work, lose nothing when they are killed, and outlive what they need."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
import requests
import sqlalchemy as sa

from app.extensions import db, transaction
from app.models import OutboxMessage
from app.services import outbox
from gatehouse.testing.servers.product import Product
from gatehouse.testing.servers.waiting import wait_until
from tests.services.test_outbox import read_rows

from .harness.proxy import NO_FAULT, Fault, Proxy
from .harness.workers import SlowMailServer, WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flask import Flask

MAILS = 200
ARRIVAL_SECONDS = 60.0
SENDERS = 4
# For how long something stays away: longer than one unit of work tries again by itself.
SOME_SECONDS = 3.0


@pytest.fixture
def mail_server() -> Iterator[SlowMailServer]:
    with SlowMailServer() as server:
        yield server


@pytest.fixture
def make_worker(environ: dict[str, str], mail_server: SlowMailServer, tmp_path: Path) -> Callable[..., WorkerProcess]:
    """Make a worker on the database of ``app`` that sends to ``mail_server``; it is not started yet."""

    def make(name: str = "worker", **changes: str) -> WorkerProcess:
        return WorkerProcess(environ | {"MAIL_URL": mail_server.url} | changes, folder=tmp_path, name=name)

    return make


def queue(app: Flask, count: int) -> None:
    """Queue mails to as many addresses."""
    with app.app_context(), transaction():
        for number in range(count):
            outbox.queue("account_deleted", to=f"user{number}@example.com")


def count_states(app: Flask) -> dict[str, int]:
    """Return how many mails there are in each state."""
    with app.app_context(), db.reading() as reading:
        counts = sa.select(OutboxMessage.state, sa.func.count().label("mails")).group_by(OutboxMessage.state)
        return {row.state: row.mails for row in reading.execute(counts)}


def bring_forward(app: Flask, *conditions: sa.ColumnElement[bool]) -> None:
    """Let mails that wait be due now: those that are to be tried again, or whose sender is dead."""
    with app.app_context(), transaction() as writing:
        waiting = sa.update(OutboxMessage).where(OutboxMessage.state == "waiting", *conditions)
        writing.connection().execute(waiting.values(due_at=OutboxMessage.created_at))


@pytest.mark.every_database
def test_four_workers_share_the_work_and_send_each_mail_once(
    app: Flask, environ: dict[str, str], tmp_path: Path
) -> None:
    with ExitStack() as stack:
        workers = [
            stack.enter_context(WorkerProcess(environ, folder=tmp_path, name=f"worker{number}")) for number in range(4)
        ]
        for worker in workers:
            wait_until(worker.has_begun, within_seconds=ARRIVAL_SECONDS, what=f"a worker, see {worker.log}")
        queue(app, MAILS)
        wait_until(lambda: count_states(app) == {"sent": MAILS}, within_seconds=ARRIVAL_SECONDS, what="all mails")
        ends = [worker.stop() for worker in workers]
    assert len(list((tmp_path / "mail").glob("*.eml"))) == MAILS
    assert {row.attempts for row in read_rows(app)} == {1}
    assert [code for code, _ in ends] == [0] * 4
    counts = [count.get("sent", 0) for _, count in ends]
    assert sum(counts) == MAILS
    assert min(counts) > 0, counts


@pytest.mark.every_database
def test_of_a_worker_that_is_killed_only_what_was_in_flight_comes_twice_and_as_the_same_mail(
    app: Flask, mail_server: SlowMailServer, make_worker: Callable[..., WorkerProcess]
) -> None:
    mail_server.seconds = 0.5
    queue(app, 20)
    with make_worker("killed") as worker:
        wait_until(lambda: mail_server.count >= 2 * SENDERS, within_seconds=ARRIVAL_SECONDS, what="some mails")
        worker.kill()
    mail_server.seconds = 0.0
    bring_forward(app)
    with make_worker("next") as worker:
        wait_until(lambda: count_states(app) == {"sent": 20}, within_seconds=ARRIVAL_SECONDS, what="all mails")
        worker.stop()
    ids = mail_server.list_ids()
    assert len(set(ids)) == 20
    assert 1 <= len(ids) - 20 <= SENDERS, "the kill met no mail in flight, or more than there are senders"
    assert max(ids.count(each) for each in ids) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_is_told_to_stop_finishes_what_it_is_sending_and_begins_nothing(
    app: Flask, mail_server: SlowMailServer, make_worker: Callable[..., WorkerProcess], number: signal.Signals
) -> None:
    mail_server.seconds = 1.5
    queue(app, 3 * SENDERS)
    with make_worker() as worker:
        wait_until(lambda: mail_server.count == SENDERS, within_seconds=ARRIVAL_SECONDS, what="the first mails")
        code, counts = worker.stop(number)
    assert (code, counts["sent"]) == (0, len(mail_server.list_ids()))
    assert count_states(app) == {
        "sent": len(mail_server.list_ids()),
        "waiting": 3 * SENDERS - len(mail_server.list_ids()),
    }
    assert len(mail_server.list_ids()) <= 2 * SENDERS
    assert {row.attempts for row in read_rows(app) if row.state == "waiting"} == {0}


def test_a_mail_server_that_is_down_is_told_of_once_and_everything_arrives_when_it_is_back(
    app: Flask, mail_server: SlowMailServer, make_worker: Callable[..., WorkerProcess]
) -> None:
    queue(app, 30)
    with Proxy(mail_server.port) as proxy, make_worker(MAIL_URL=f"smtp://127.0.0.1:{proxy.port}") as worker:
        proxy.refuse()
        wait_until(lambda: "away" in worker.log.read_text(), within_seconds=ARRIVAL_SECONDS, what="the log")
        time.sleep(SOME_SECONDS)
        # Few, because one mail at a time finds out whether it is back.
        assert sum(row.attempts > 0 for row in read_rows(app)) < 15
        proxy.listen()
        wait_until(lambda: mail_server.count >= 20, within_seconds=ARRIVAL_SECONDS, what="those not tried yet")
        bring_forward(app, OutboxMessage.lease.is_(None))
        wait_until(lambda: count_states(app) == {"sent": 30}, within_seconds=ARRIVAL_SECONDS, what="all mails")
        worker.stop()
        log = worker.log.read_text()
    assert len(mail_server.list_ids()) == 30
    assert log.count("the mail server is away") == 1
    assert log.count("the mail server is back") == 1
    assert "@example.com" not in log


@pytest.mark.every_database
@pytest.mark.only_on("postgresql", "mariadb", reason="no network is between us and an SQLite file")
def test_a_worker_outlives_its_database_and_sends_nothing_twice(
    app: Flask, environ: dict[str, str], mail_server: SlowMailServer, make_worker: Callable[..., WorkerProcess]
) -> None:
    url = sa.make_url(environ["DATABASE_URL"])
    mail_server.seconds = 0.5
    queue(app, 30)
    with Proxy(url.port or 0) as proxy:
        proxied = url.set(port=proxy.port).render_as_string(hide_password=False)
        with make_worker(DATABASE_URL=proxied) as worker:
            wait_until(lambda: mail_server.count >= 2 * SENDERS, within_seconds=ARRIVAL_SECONDS, what="some mails")
            # Those that are being sent are taken by the server, and cannot be noted.
            proxy.refuse()
            wait_until(lambda: "waits for the database" in worker.log.read_text(), within_seconds=30, what="the log")
            time.sleep(SOME_SECONDS)
            proxy.listen()
            wait_until(lambda: count_states(app) == {"sent": 30}, within_seconds=ARRIVAL_SECONDS, what="all mails")
            code, counts = worker.stop()
            log = worker.log.read_text()
    assert (code, counts["sent"]) == (0, 30)
    assert len(mail_server.list_ids()) == 30
    assert log.count("waits for the database") == log.count("the worker goes on") == 1


@pytest.mark.every_database
def test_requests_are_fast_while_the_mail_server_is_silent_and_their_mails_arrive_afterwards(
    app: Flask, environ: dict[str, str], mail_server: SlowMailServer, tmp_path: Path
) -> None:
    with Proxy(mail_server.port) as proxy:
        proxy.fault = Fault(is_silent=True)
        mail = {"MAIL_URL": f"smtp://127.0.0.1:{proxy.port}?timeout=5", "MAIL_IN_PROCESS": "true"}
        with Product(environ | mail | {"EMAIL_VERIFICATION": "required"}, folder=tmp_path) as product:
            took = [register(product, f"user{number}@example.com") for number in range(12)]
            # A request that waited for the mail server would have waited for its time limit.
            assert max(took) < 2.0, took
            assert mail_server.list_ids() == []
            wait_until(lambda: any(row.last_error for row in read_rows(app)), within_seconds=20, what="a failure")
            proxy.fault = NO_FAULT
            wait_until(lambda: mail_server.count >= 6, within_seconds=ARRIVAL_SECONDS, what="mails")
            bring_forward(app, OutboxMessage.lease.is_(None))
            wait_until(lambda: count_states(app) == {"sent": 12}, within_seconds=ARRIVAL_SECONDS, what="all mails")
            assert product.stop() == 0
    assert len(set(mail_server.list_ids())) == 12


def test_the_server_sends_at_once_what_a_request_queued_and_finishes_sending_before_it_ends(
    app: Flask, environ: dict[str, str], mail_server: SlowMailServer, tmp_path: Path
) -> None:
    mail = {"MAIL_URL": mail_server.url, "MAIL_IN_PROCESS": "true", "EMAIL_VERIFICATION": "required"}
    with Product(environ | mail, folder=tmp_path) as product:
        mail_server.seconds = 2.0
        register(product, "ada@example.com")
        wait_until(lambda: mail_server.count == 1, within_seconds=ARRIVAL_SECONDS, what="the mail")
        assert product.stop() == 0
    assert count_states(app) == {"sent": 1}


def register(product: Product, email: str) -> float:
    """Register at ``product``, and return how many seconds that took."""
    with requests.Session() as session:
        token = session.get(f"{product.url}/api/v1/auth/csrf", timeout=20).json()["csrf_token"]
        body = {"email": email, "password": "turnip lantern gravel osprey"}
        begun_at = time.monotonic()
        answer = session.post(
            f"{product.url}/api/v1/auth/register", json=body, headers={"X-CSRF-Token": token}, timeout=20
        )
        assert answer.status_code == 202, answer.text
        return time.monotonic() - begun_at
