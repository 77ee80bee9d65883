"""Deadlines that hold whatever the server does: every wait for a database ends at one."""

import contextlib
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Final

# When the present unit of work has to be over, on the monotonic clock; None: whenever its last statement is.
_work_ends_at: ContextVar[float | None] = ContextVar("work_ends_at", default=None)

# What a statement gets that begins when the time is already up: enough to roll back on a healthy server.
GRACE_SECONDS: Final = 0.1


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Let everything that the block asks of databases be over in ``seconds``, all waits added up.

    It only ever shortens: a limit around this one stays in force.
    """
    outer = _work_ends_at.get()
    ends_at = time.monotonic() + seconds
    token = _work_ends_at.set(ends_at if outer is None else min(outer, ends_at))
    try:
        yield
    finally:
        _work_ends_at.reset(token)


def remaining_seconds() -> float | None:
    """Return what is left of the present time limit, if there is one."""
    ends_at = _work_ends_at.get()
    return None if ends_at is None else ends_at - time.monotonic()


class Deadline:
    """An instant after which nobody waits any longer: so many seconds from now, or the present time limit if sooner."""

    __slots__ = ("_at",)

    def __init__(self, seconds: float | None) -> None:
        limits = [limit for limit in (seconds, remaining_seconds()) if limit is not None]
        self._at = time.monotonic() + max(min(limits), GRACE_SECONDS) if limits else None

    def remaining(self) -> float | None:
        """Return the seconds left, below zero when it has passed; None means for ever."""
        return None if self._at is None else self._at - time.monotonic()
