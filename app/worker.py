"""The worker: sends mails that are due, several at once, and cleans up. It outlives outages of database and SMTP."""

import contextlib
import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from app.database import DatabaseUnavailable
from app.extensions import get_mail_signal, get_settings
from app.mail import make_transport
from app.models import DEAD, SENT
from app.server import is_draining
from app.services import cleanup, deliveries, leaving, outbox
from app.services.deliveries import Outcome
from app.services.outbox import ClaimedMail

logger = logging.getLogger(__name__)

SENDERS: Final = 4
POLL_SECONDS: Final = 1.0
# A lease is this many times the longest that a delivery takes; a short limit leaves time for the database all the same.
LEASES_PER_DELIVERY: Final = 3
LEASE_MIN_SECONDS: Final = 30
# More candidates than senders, so that several workers seldom try for the same mail.
CANDIDATES: Final = 32
# Of a pause while the database or the mail server is away: the first, and what it grows to.
PAUSE_SECONDS: Final = 1.0
PAUSE_MAX_SECONDS: Final = 15.0
CLEAN_UP_SECONDS: Final = 300.0
# Between two batches of a clean-up, so that whoever waits for a lock gets it.
BREATH_SECONDS: Final = 0.05


class Outage:
    """Whether something is away: one line in the log when that changes, and ever longer pauses while it is."""

    def __init__(self, *, begun: str, over: str) -> None:
        self._begun = begun
        self._over = over
        self._pause_seconds = 0.0
        self._paused_until = 0.0
        self._lock = threading.Lock()

    @property
    def is_over(self) -> bool:
        """Whether nothing is known to be away."""
        return not self._pause_seconds

    @property
    def is_pausing(self) -> bool:
        """Whether it is too early to try again."""
        return time.monotonic() < self._paused_until

    def begin(self, reason: str) -> None:
        """Note that it is away; what fails during a pause was begun before."""
        with self._lock:
            if self.is_pausing:
                return
            if self.is_over:
                logger.warning("%s: %s", self._begun, reason)
            self._pause_seconds = min(PAUSE_MAX_SECONDS, max(PAUSE_SECONDS, 2 * self._pause_seconds))
            self._paused_until = time.monotonic() + random.uniform(0.5, 1) * self._pause_seconds  # noqa: S311 - no secret

    def end(self) -> None:
        """Note that it is there."""
        with self._lock:
            if not self.is_over:
                logger.info(self._over)
            self._pause_seconds = self._paused_until = 0.0


class Worker:
    """Sends the mails of one application until it is stopped. Several may do so at once, in any process."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        with app.app_context():
            target = get_settings().mail_url
            self._wake = get_mail_signal()
        self._target = str(target)
        self._transport = make_transport(target)
        self._lease_seconds = max(LEASE_MIN_SECONDS, LEASES_PER_DELIVERY * target.timeout_seconds)
        self._database = Outage(begun="the worker waits for the database", over="the worker goes on")
        self._mail_server = Outage(begun="the mail server is away", over="the mail server is back")
        self._sending: set[Future[None]] = set()
        self._cleaning: Future[None] | None = None
        # Not all of them at once.
        self._next_clean_up = time.monotonic() + random.uniform(0, CLEAN_UP_SECONDS)  # noqa: S311 - no secret
        self.counts: Counter[str] = Counter()
        self._is_stopping = False

    def stop(self) -> None:
        """Have ``run`` return within a second or two, once what is being sent is finished.

        Nothing but a flag, because it is called by a signal's handler.
        """
        self._is_stopping = True

    def run(self) -> None:
        """Send what is due, until ``stop`` is called, the server drains or the process ends."""
        logger.info("the worker has begun", extra={"mail_url": self._target})
        with ThreadPoolExecutor(SENDERS + 1, thread_name_prefix="worker") as pool:
            while not self._has_to_end():
                # Whatever is stored from here on sets it again, and so does a sender that has finished.
                self._wake.clear()
                with self._watching_database(), self._app.app_context():
                    self._start_sending(pool)
                    self._start_cleaning(pool)
                self._wake.wait(POLL_SECONDS)
        logger.info("the worker has ended")

    def _has_to_end(self) -> bool:
        return self._is_stopping or is_draining() or not threading.main_thread().is_alive()

    def _start_sending(self, pool: ThreadPoolExecutor) -> None:
        """Claim as many mails as there are idle senders, so that none waits under a lease."""
        self._sending = {each for each in self._sending if not each.done()}
        # While the mail server is away one mail at a time finds out whether it is back.
        most = SENDERS if self._mail_server.is_over else 1
        if len(self._sending) >= most or self._database.is_pausing or self._mail_server.is_pausing:
            return
        for mail_id in outbox.list_due(CANDIDATES):
            mail = outbox.claim(mail_id, lease_seconds=self._lease_seconds)
            if mail is not None:
                sending = pool.submit(self._send, mail)
                self._sending.add(sending)
                sending.add_done_callback(lambda _: self._wake.set())
            if len(self._sending) >= most:
                break
        self._database.end()

    def _send(self, mail: ClaimedMail) -> None:
        with self._app.app_context(), self._watching_database():
            outcome = deliveries.send(mail, self._transport)
            if outcome is None:
                return
            if outcome.is_server_away:
                self._mail_server.begin(outcome.error or "")
            elif outcome.state == SENT:
                self._mail_server.end()
            self._note(mail, outcome)

    def _note(self, mail: ClaimedMail, outcome: Outcome) -> None:
        """Note what came of a mail, however long the database is away: unnoted, it would be sent again."""
        is_noted = False
        while not is_noted:
            with self._watching_database():
                state = deliveries.note(mail, outcome)
                is_noted = True
                self.counts[state or "taken over"] += 1
                told = {"mail_id": str(mail.id), "template": mail.template, "attempts": mail.attempts}
                logger.log(logging.WARNING if state == DEAD else logging.INFO, "mail %s", state, extra=told)
            if not is_noted:
                if self._has_to_end():
                    return
                time.sleep(PAUSE_SECONDS)

    def _start_cleaning(self, pool: ThreadPoolExecutor) -> None:
        is_busy = self._cleaning is not None and not self._cleaning.done()
        if time.monotonic() >= self._next_clean_up and not is_busy:
            self._next_clean_up = time.monotonic() + CLEAN_UP_SECONDS
            self._cleaning = pool.submit(self.clean_up)

    def clean_up(self) -> None:
        """Delete what has run out, and accounts whose time of grace is over."""
        with self._app.app_context(), self._watching_database():
            for table in cleanup.TABLES:
                while cleanup.delete_expired(table) == cleanup.ROWS_AT_ONCE and not self._has_to_end():
                    time.sleep(BREATH_SECONDS)
            leaving.delete_due()

    @contextlib.contextmanager
    def _watching_database(self) -> Iterator[None]:
        try:
            yield
        except (DatabaseUnavailable, SQLAlchemyError) as error:
            self._database.begin(type(error).__name__)
        except Exception:
            # Whatever it is, the mails behind it have to go.
            logger.exception("the worker failed")


def start_in_process(app: Flask) -> None:
    """Send the mails of ``app`` on a thread of this process, which serves, where ``MAIL_IN_PROCESS`` says so."""
    with app.app_context():
        if get_settings().mail_in_process:
            # No daemon: what is being sent when the process ends is finished.
            threading.Thread(target=Worker(app).run, name="mail").start()
