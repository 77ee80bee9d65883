"""Run a unit of work again where that is safe, and only there."""

import random
import time
from collections.abc import Callable
from typing import Final, TypeVar

import sqlalchemy as sa

from .deadlines import remaining_seconds, time_limit
from .faults import ConnectionLost, DatabaseUnavailable, Kind, classify

T = TypeVar("T")

ATTEMPTS: Final = 4
WORK_SECONDS: Final = 4.0
# The first pause; each further one is up to twice as long.
PAUSE_SECONDS: Final = 0.05


def run_again(
    unit: Callable[[], T],
    *,
    attempts: int = ATTEMPTS,
    within_seconds: float = WORK_SECONDS,
    sleep: Callable[[float], object] = time.sleep,
) -> T:
    """Return what ``unit`` returns, run again when it lost its connection or a race before its commit was sent.

    ``unit`` holds whole transactions, from begin to commit, and reads anew whatever it decides on. Pauses are random
    ("full jitter"), so that those who collided do not meet again; all attempts and pauses together stay within
    ``within_seconds``.

    Raises:
        CommitOutcomeUnknown: a commit was sent and not answered. It is never run again: it may have been stored.
        DatabaseUnavailable: it did not work out in so many attempts.
    """
    with time_limit(within_seconds):
        for attempt in range(attempts):
            try:
                return unit()
            except (ConnectionLost, sa.exc.DBAPIError) as error:
                if isinstance(error, sa.exc.DBAPIError) and not _is_lost_race(error):
                    raise
                pause = random.uniform(0, PAUSE_SECONDS * 2**attempt)  # noqa: S311 - no secret hangs on it
                if attempt + 1 == attempts or pause >= (remaining_seconds() or 0):
                    if isinstance(error, ConnectionLost):
                        raise
                    raise DatabaseUnavailable("Too many changes at once.") from error
            sleep(pause)
    raise AssertionError("attempts is at least 1")


def _is_lost_race(error: sa.exc.DBAPIError) -> bool:
    return error.orig is not None and classify(error.orig) is Kind.CONFLICT
