"""A primary killed under the product, and its standby promoted."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import threading
import time
from typing import TYPE_CHECKING

from gatehouse.testing.servers.postgres import Postgres, make_url
from gatehouse.testing.servers.waiting import wait_until
from tests.servers.harness.crowd import Answer, Crowd
from tests.servers.outages.products import make_product

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START_ACCOUNTS = 50


class RegistrationLedger:
    """Clients that register accounts all the time, and the addresses that they were told are stored."""

    def __init__(self, crowd: Crowd, *, clients: int) -> None:
        self._crowd = crowd
        self._lock = threading.Lock()
        self.acknowledged: dict[str, float] = {}
        self.contradicted: set[str] = set()
        crowd.send(self._make_work(number) for number in range(clients))

    def count_since(self, instant: float) -> int:
        """Return how many were acknowledged that were asked for after ``instant``."""
        with self._lock:
            return sum(asked_at > instant for asked_at in self.acknowledged.values())

    def note(self, email: str, answer: Answer, *, is_unknown: bool) -> None:
        """Hold the product to what it said: only after an unknown outcome may a new address be taken."""
        with self._lock:
            self.acknowledged[email] = answer.asked_at
            if answer.status == 409 and not is_unknown:
                self.contradicted.add(email)

    def _make_work(self, number: int) -> Registrant:
        return Registrant(self, number, self._crowd)


class Registrant:
    """Somebody who registers one account after the other, and each one again until it is there."""

    def __init__(self, ledger: RegistrationLedger, number: int, crowd: Crowd) -> None:
        self._ledger = ledger
        self._client = crowd.make_client()
        self._emails = (f"client{number}-{count}@example.com" for count in itertools.count())
        self._email = next(self._emails)
        self._is_unknown = False

    def __call__(self) -> None:
        """Try once."""
        answer = self._client.register(self._email)
        if answer.status in {201, 409}:
            self._ledger.note(self._email, answer, is_unknown=self._is_unknown)
            self._email, self._is_unknown = next(self._emails), False
        else:
            self._is_unknown = self._is_unknown or answer.code == "outcome_unknown"
            time.sleep(0.01)


@dataclasses.dataclass(frozen=True, slots=True)
class Failover:
    """What came of one: counts, seconds, and every answer."""

    acknowledged: int
    missing: frozenset[str]
    contradicted: frozenset[str]
    promoted_after_seconds: float
    resumed_after_seconds: float
    answers: list[Answer]
    pids_before: list[int]
    pids_after: list[int]


@contextlib.contextmanager
def run_pair() -> Iterator[tuple[Postgres, Postgres]]:
    """Yield a primary and its synchronous standby."""
    with Postgres() as primary, primary.make_standby() as standby:
        primary.administrate("ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
        wait_until(
            lambda: primary.administrate("SELECT sync_state FROM pg_stat_replication") == [("sync",)],
            within_seconds=10,
            what="the standby to be synchronous",
        )
        yield primary, standby


def fail_over(folder: Path, *, clients: int, seconds_before: float, seconds_after: float) -> Failover:
    """Kill the primary under clients that register, promote its standby, and let them go on for a while."""
    with run_pair() as (primary, standby):
        product = make_product(make_url(primary.port, standby.port), folder=folder)
        with product, Crowd(product.url) as crowd:
            ledger = RegistrationLedger(crowd, clients=clients)
            wait_until(
                lambda: ledger.count_since(0) > START_ACCOUNTS, within_seconds=30, what="some accounts to be stored"
            )
            before = product.worker_pids
            threading.Event().wait(seconds_before)
            primary.kill()
            killed_at = time.monotonic()
            standby.promote()
            promoted_at = time.monotonic()
            resumed = wait_until(
                lambda: ledger.count_since(promoted_at), within_seconds=20, what="registrations to be taken again"
            )
            threading.Event().wait(seconds_after)
            after = product.worker_pids
        # The answers that were still to come when the crowd was sent home count too.
        stored = {email for (email,) in standby.execute("SELECT email FROM users")}
        return Failover(
            acknowledged=len(ledger.acknowledged),
            missing=frozenset(ledger.acknowledged.keys() - stored),
            contradicted=frozenset(ledger.contradicted),
            promoted_after_seconds=promoted_at - killed_at,
            resumed_after_seconds=resumed,
            answers=crowd.answers,
            pids_before=before,
            pids_after=after,
        )
