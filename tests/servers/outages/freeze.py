"""A database that stands still under the product: its connections stay open and silent."""

from __future__ import annotations

import dataclasses
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

from gatehouse.testing.servers.postgres import Postgres
from gatehouse.testing.servers.waiting import wait_until
from tests.servers.harness.crowd import Answer, Crowd
from tests.servers.outages.products import make_product

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gatehouse.testing.servers.mariadb import MariaDb
    from tests.servers.harness.crowd import Client


ME = "GET /api/v1/users/me"
SIGN_IN = "POST /api/v1/auth/login"
WITHOUT_DATABASE = ("/livez", "/api/v1/auth/csrf")
PAUSE_SECONDS = 0.02
_COUNT_POSTGRES = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'gatehouse'"
_COUNT_MARIADB = "SELECT count(*) FROM information_schema.processlist WHERE user = 'gatehouse'"


@dataclasses.dataclass(frozen=True, slots=True)
class Load:
    """How many clients read as somebody signed in, sign in over and over, and ask for what needs no database."""

    signed_in: int = 16
    signing_in: int = 4
    passing_by: int = 4


@dataclasses.dataclass(frozen=True, slots=True)
class Freeze:
    """What came of one: every answer, when the server stood still, and what was left of the product afterwards."""

    answers: list[Answer]
    frozen_at: float
    thawed_at: float
    back_after_seconds: float
    signed_out: int
    connections: int
    pids_before: list[int]
    pids_after: list[int]

    def find_during(self, *calls: str) -> list[Answer]:
        """Return the answers to ``calls`` that were asked for while the server stood still."""
        return [answer for answer in self.answers if answer.call in calls and self.is_during(answer)]

    def is_during(self, answer: Answer) -> bool:
        """Say whether the answer was asked for while the server stood still."""
        return self.frozen_at < answer.asked_at < self.thawed_at


def freeze(server: Postgres | MariaDb, folder: Path, *, seconds: float, load: Load) -> Freeze:
    """Let the server stand still for so long under clients of each kind."""
    with make_product(server.make_url(), folder=folder) as product:
        with Crowd(product.url) as crowd:
            members = [crowd.make_client() for _ in range(load.signed_in)]
            for number, member in enumerate(members):
                assert member.register(f"member{number}@example.com").status == 201
            _set_to_work(crowd, members, load)
            wait_until(
                lambda: sum(answer.call == SIGN_IN and answer.status == 200 for answer in crowd.answers) > 10,
                within_seconds=30,
                what="everybody to be at work",
            )
            before = product.worker_pids
            server.freeze()
            frozen_at = time.monotonic()
            threading.Event().wait(seconds)
            thawed_at = time.monotonic()
            server.thaw()
            back = wait_until(
                lambda: {ME, SIGN_IN} <= {answer.call for answer in crowd.answers if is_well_after(answer, thawed_at)},
                within_seconds=20,
                what="signing in and reading to work again",
            )
            threading.Event().wait(2)
        return Freeze(
            answers=crowd.answers,
            frozen_at=frozen_at,
            thawed_at=thawed_at,
            back_after_seconds=back,
            signed_out=sum(member.get("/api/v1/users/me").status != 200 for member in members),
            connections=count_connections(server),
            pids_before=before,
            pids_after=product.worker_pids,
        )


def is_well_after(answer: Answer, instant: float) -> bool:
    """Say whether the answer was asked for after ``instant``, and is what was asked for."""
    return answer.status == 200 and answer.asked_at > instant


def count_connections(server: Postgres | MariaDb) -> int:
    """Return how many connections the server holds for the product."""
    query = _COUNT_POSTGRES if isinstance(server, Postgres) else _COUNT_MARIADB
    return int(server.administrate(query)[0][0])


def _set_to_work(crowd: Crowd, members: list[Client], load: Load) -> None:
    works: list[Callable[[], object]] = [partial(member.get, "/api/v1/users/me") for member in members]
    works += [
        partial(crowd.make_client().sign_in, f"member{number % len(members)}@example.com")
        for number in range(load.signing_in)
    ]
    for number in range(load.passing_by):
        works.append(partial(crowd.make_client().get, WITHOUT_DATABASE[number % len(WITHOUT_DATABASE)]))
    crowd.send(works, pause_seconds=PAUSE_SECONDS)
