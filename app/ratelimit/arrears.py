"""What this process admitted while the store was away, and the store has yet to hear of."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .plan import Charge

SUBJECTS_MAX: Final = 50_000
ENTRIES_MAX: Final = 150

# A charge's plan and cost, and when it was made, on this process's clock in microseconds.
Entry = tuple["Charge", int]


class Arrears:
    """Charges by subject; handed to the store together with the subject's next decision there."""

    def __init__(self) -> None:
        self._entries: OrderedDict[str, list[Entry]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def reset_after_fork(self) -> None:
        """Leave the parent's debts to the parent."""
        self._entries = OrderedDict()
        self._lock = threading.Lock()

    def add(self, charge: Charge, now_us: int) -> None:
        """Remember ``charge``, made at ``now_us``."""
        with self._lock:
            entries = self._entries.setdefault(charge.subject, [])
            entries.append((charge, now_us))
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

    def take(self, subject: str) -> list[Entry]:
        """Return what is owed for ``subject``, which is now the caller's to hand over or to put back."""
        with self._lock:
            return self._entries.pop(subject, [])

    def put_back(self, subject: str, entries: list[Entry]) -> None:
        """Remember again what could not be handed over."""
        with self._lock:
            self._entries[subject] = entries + self._entries.get(subject, [])

    def remove(self, charge: Charge, now_us: int) -> bool:
        """Forget the charge made at ``now_us``, which was given back; say whether it was still owed."""
        with self._lock:
            entries = self._entries.get(charge.subject, [])
            try:
                entries.remove((charge, now_us))
            except ValueError:
                return False
            if not entries:
                del self._entries[charge.subject]
            return True

    def clear(self, subject: str) -> None:
        """Forget everything about ``subject``."""
        self.take(subject)
