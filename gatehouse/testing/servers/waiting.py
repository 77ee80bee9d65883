"""Waiting for something to become true, with a deadline."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def wait_until(is_true: Callable[[], object], *, within_seconds: float, what: str) -> float:
    """Return how many seconds it took until ``is_true`` said so.

    Raises:
        TimeoutError: it did not, in time; the message says ``what`` was waited for.
    """
    begun_at = time.monotonic()
    while not is_true():
        if time.monotonic() - begun_at > within_seconds:
            raise TimeoutError(f"waited {within_seconds:g} s for {what}")
        time.sleep(0.01)
    return time.monotonic() - begun_at
