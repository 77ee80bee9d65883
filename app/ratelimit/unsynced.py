"""What this process admitted while the store was away, and the store has yet to hear of."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from .plan import Charge

SUBJECTS_MAX: Final = 50_000
ENTRIES_MAX: Final = 150

# A charge, and when it was made, on this process's monotonic clock in microseconds.
Entry = tuple["Charge", int]


class UnsyncedCharges:
    """Charges by subject; handed to the store together with the subject's next decision there."""

    def __init__(self) -> None:
        self.reset_after_fork()

    def __len__(self) -> int:
        return len(self._entries)

    def reset_after_fork(self) -> None:
        """Leave to the parent what the parent has to tell."""
        self._entries: OrderedDict[str, list[Entry]] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, charge: Charge, at_us: int) -> None:
        """Remember ``charge``, made at ``at_us``."""
        with self._lock:
            entries = self._entries.setdefault(charge.subject, [])
            entries.append((charge, at_us))
            if len(entries) > ENTRIES_MAX:
                self._fold(entries)
            if len(self._entries) > SUBJECTS_MAX:
                self._entries.popitem(last=False)

    @staticmethod
    def _fold(entries: list[Entry]) -> None:
        """Make one of the two oldest entries of one plan: at the later time, so that it counts longer, not shorter."""
        oldest, _ = entries[0]
        for place in range(1, len(entries)):
            charge, at_us = entries[place]
            if charge.plan is oldest.plan:
                entries[place] = (charge._replace(cost=charge.cost + oldest.cost), at_us)
                del entries[0]
                return

    def take(self, *subjects: str) -> list[Entry]:
        """Return all about ``subjects``, which is now the caller's to hand over or to restore."""
        with self._lock:
            return [entry for subject in subjects for entry in self._entries.pop(subject, ())]

    def restore(self, entries: Sequence[Entry]) -> None:
        """Remember again what could not be handed over."""
        with self._lock:
            for entry in reversed(entries):
                self._entries.setdefault(entry[0].subject, []).insert(0, entry)

    def remove(self, charge: Charge, at_us: int) -> bool:
        """Forget the charge made at ``at_us``, which was given back; say whether the store had yet to hear of it."""
        with self._lock:
            entries = self._entries.get(charge.subject, [])
            try:
                entries.remove((charge, at_us))
            except ValueError:
                return False
            if not entries:
                del self._entries[charge.subject]
            return True
