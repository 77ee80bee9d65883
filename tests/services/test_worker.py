"""One worker, whatever fails around it; several, and whole outages, are in ``tests/servers``."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from app import worker as worker_module
from app.database import DatabaseUnavailable
from app.services import deliveries, outbox
from app.worker import Worker
from tests.services.test_outbox import claim, queue, read_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest
    from flask import Flask


def fail_once(function: Callable[..., Any], error: Exception) -> Callable[..., Any]:
    """Return a function that raises ``error`` at first, and from then on does what ``function`` does."""
    errors = [error]

    def call(*args: Any, **kwargs: Any) -> Any:
        if errors:
            raise errors.pop()
        return function(*args, **kwargs)

    return call


def test_a_mail_that_was_sent_is_noted_once_the_database_is_back(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unnoted, it would be sent again when its lease ends."""
    queue(app)
    mail = claim(app)
    assert mail is not None
    monkeypatch.setattr(worker_module, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(deliveries, "note", fail_once(deliveries.note, DatabaseUnavailable()))
    Worker(app)._send(mail)
    assert [row.state for row in read_rows(app)] == ["sent"]


def test_the_worker_outlives_a_fault_that_nobody_expected(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    queue(app)
    monkeypatch.setattr(worker_module, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(outbox, "list_due", fail_once(outbox.list_due, LookupError()))
    worker = Worker(app)
    thread = threading.Thread(target=worker.run)
    thread.start()
    waited = threading.Event()
    for _ in range(1000):
        if worker.counts["sent"] or not thread.is_alive():
            break
        waited.wait(0.02)
    worker.stop()
    thread.join(timeout=20)
    assert worker.counts["sent"] == 1


def test_while_the_mail_server_is_away_one_mail_at_a_time_finds_out_whether_it_is_back(app: Flask) -> None:
    for _ in range(3):
        queue(app)
    worker = Worker(app)
    worker._mail_server.begin("421 closing")
    worker._mail_server._paused_until = 0.0
    with ThreadPoolExecutor() as pool, app.app_context():
        worker._start_sending(pool)
    assert sorted(row.attempts for row in read_rows(app)) == [0, 0, 1]


def test_a_server_that_drains_begins_to_send_nothing(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    queue(app)
    monkeypatch.setattr(worker_module, "is_draining", lambda: True)
    thread = threading.Thread(target=(worker := Worker(app)).run)
    thread.start()
    thread.join(timeout=5)
    has_ended = not thread.is_alive()
    worker.stop()
    thread.join()
    assert has_ended
    assert [row.state for row in read_rows(app)] == ["waiting"]
