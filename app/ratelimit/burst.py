"""So many faults within so short a time that they are no chance."""

from __future__ import annotations

from collections import deque
from typing import Final

FAULTS: Final = 3
WINDOW_SECONDS: Final = 1.0


class Burst:
    """Counts faults; three within a second are a burst."""

    def __init__(self) -> None:
        self._instants: deque[float] = deque(maxlen=FAULTS)

    def add(self, now: float) -> bool:
        """Count a fault at ``now``, and say whether it makes a burst."""
        self._instants.append(now)
        return len(self._instants) == FAULTS and now - self._instants[0] <= WINDOW_SECONDS

    def clear(self) -> None:
        """Forget what was counted."""
        self._instants.clear()
