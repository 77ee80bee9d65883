"""The product while its database is away: what clients are told, what is kept, and how soon it is back."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from .outages.failover import fail_over

if TYPE_CHECKING:
    from pathlib import Path

    from .harness.crowd import Answer

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 5.0
RESUME_SECONDS = 2.0


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
