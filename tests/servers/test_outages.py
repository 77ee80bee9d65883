"""The product while its database is away: what clients are told, what is kept, and how soon it is back."""

from __future__ import annotations

import logging
import statistics
from typing import TYPE_CHECKING

import pytest

from .conftest import MARIADB, POSTGRES, make_server
from .outages.failover import fail_over
from .outages.freeze import ME, SIGN_IN, WITHOUT_DATABASE, Load, freeze

if TYPE_CHECKING:
    from pathlib import Path

    from .harness.crowd import Answer

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 5.0
# Generous: the machine may be busy with other things.
LOOK_SECONDS = 1.0
RESUME_SECONDS = 2.0
BACK_SECONDS = 3.0
# What the two processes keep in their pools, and their probes' one each.
MOST_CONNECTIONS = 2 * (5 + 1)


def list_faults(answers: list[Answer], *, allowed: set[int]) -> list[Answer]:
    """Return the answers that took too long, are none of ``allowed``, or refuse without saying when to come back."""
    return [
        answer
        for answer in answers
        if answer.seconds > ANSWER_SECONDS
        or answer.status not in allowed
        or (answer.status == 503 and not (answer.code and answer.has_retry_after))
    ]


@pytest.mark.server("postgresql")
def test_no_acknowledged_account_is_lost_when_a_standby_takes_over(tmp_path: Path) -> None:
    failover = fail_over(tmp_path, clients=6, seconds_before=1, seconds_after=2)
    logger.info(
        "%d acknowledged; promoted after %.2f s, resumed %.2f s after that; slowest answer %.2f s",
        failover.acknowledged,
        failover.promoted_after_seconds,
        failover.resumed_after_seconds,
        max(answer.seconds for answer in failover.answers),
    )
    assert failover.missing == frozenset()
    assert failover.contradicted == frozenset()
    assert failover.resumed_after_seconds < RESUME_SECONDS
    assert list_faults(failover.answers, allowed={200, 201, 409, 429, 503}) == []
    assert failover.pids_after == failover.pids_before


@pytest.mark.parametrize("name", [POSTGRES, MARIADB])
def test_a_frozen_database_keeps_nobody_waiting_and_signs_nobody_out(name: str, tmp_path: Path) -> None:
    with make_server(name) as server:
        frozen = freeze(server, tmp_path, seconds=8, load=Load())
    looks = [answer.seconds for answer in frozen.find_during(*(f"GET {path}" for path in WITHOUT_DATABASE))]
    asked = frozen.find_during(ME, SIGN_IN)
    logger.info(
        "%s: %d asked meanwhile, slowest answer %.2f s; %d without a database, median %.0f ms, slowest %.2f s;"
        " back after %.2f s; %d connections left",
        name,
        len(asked),
        max(answer.seconds for answer in asked),
        len(looks),
        statistics.median(looks) * 1000,
        max(looks),
        frozen.back_after_seconds,
        frozen.connections,
    )
    assert list_faults(frozen.answers, allowed={200, 201, 503}) == []
    assert {answer.status for answer in asked if answer.ended_at < frozen.thawed_at} == {503}
    assert max(looks) < LOOK_SECONDS
    assert frozen.back_after_seconds < BACK_SECONDS
    assert frozen.signed_out == 0
    assert frozen.connections <= MOST_CONNECTIONS
    assert frozen.pids_after == frozen.pids_before
