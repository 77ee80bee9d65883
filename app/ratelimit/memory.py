"""The sliding windows in this process's own memory: the same answers as Redis gives, to the microsecond."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from .plan import Charge
from .store import Values
from .windows import BucketWindow, ExactWindow, Window

MAX_WINDOWS_DEFAULT: Final = 200_000


class MemoryStore:
    """Windows for at most ``max_windows`` pairs of subject and limit; the subjects idle for longest go first."""

    # It is always there, and forgets only what it evicts.
    reconnected_at: Final = float("-inf")

    def __init__(
        self, *, max_windows: int = MAX_WINDOWS_DEFAULT, clock_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._max_windows = max_windows
        self._clock_ns = clock_ns
        self._subjects: OrderedDict[str, dict[str, Window]] = OrderedDict()
        self._windows_count = 0
        self.reset_after_fork()

    def __len__(self) -> int:
        return self._windows_count

    def reset_after_fork(self) -> None:
        """Forget a lock that another thread of the parent may have held."""
        self._lock = threading.Lock()

    def decide(self, charges: Sequence[Charge]) -> Values:
        """Take every charge, or none of them."""
        now = self._clock_ns() // 1000
        values: list[float] = [0, 0, now]
        with self._lock:
            # Limits are charged as they are met, which is cheapest when none refuses.
            for plan, subject, cost, _kind in charges:
                windows = self._subjects.setdefault(subject, {})
                self._subjects.move_to_end(subject)
                for key, amount, window_us, bucket_us in plan.rows:
                    window = windows.get(key)
                    # What happens most is done here and not by a call: a unit that follows others, none of which has
                    # left, and more units in the newest bucket.
                    if window is None:
                        window = self._open_window(windows, key, bucket_us)
                    elif isinstance(window, ExactWindow):
                        if cost == 1 and window and window[-1] < now < window[0] + window_us and len(window) < amount:
                            window.append(now)
                            values += (amount - len(window), window[0] + window_us - now, now)
                            continue
                    elif (numbers := window.numbers) and numbers[-1] == now // bucket_us:
                        left = amount - window.totals[-1] + window.base - cost
                        reset = (numbers[0] + 1) * bucket_us + window_us - now
                        if left >= 0 and reset > 0:
                            window.totals[-1] += cost
                            values += (left, reset, numbers[-1])
                            continue
                    taken = window.take(now, cost, amount, window_us)
                    if taken is None:
                        return self._refuse(charges, now, values)
                    values += taken
            if self._windows_count > self._max_windows:
                self._evict()
        return tuple(values)

    def _refuse(self, charges: Sequence[Charge], now: int, charged: list[float]) -> Values:
        """Take back what the first limits have ``charged``, and tell what a request that waits has to wait for."""
        self._give_back(charges, charged[5::3])
        refused, wait, place = 0, 0, 0
        values: list[float] = []
        for plan, subject, cost, _kind in charges:
            windows = self._subjects.get(subject, {})
            for key, amount, window_us, _bucket_us in plan.rows:
                window = windows.get(key)
                place += 1
                count, reset, longest = 0, 0, window_us
                if window is not None:
                    count = window.prune(now - window_us)
                    reset = window.end_of_unit(1) + window_us - now if count else 0
                    if amount - count < cost <= amount:
                        longest = window.end_of_unit(count + cost - amount) + window_us - now
                if count + cost > amount and longest > wait:
                    refused, wait = place, longest
                values += (max(0, amount - count), reset, 0)
        return (refused, wait, now, *values)

    def refund(self, charges: Sequence[Charge], stamps: Sequence[float]) -> None:
        """Give back what ``charges`` took under ``stamps``, one stamp for each limit."""
        with self._lock:
            self._give_back(charges, stamps)

    def _give_back(self, charges: Sequence[Charge], stamps: Sequence[float]) -> None:
        """Give back the first charges, as far as there are ``stamps``; the lock is held."""
        rows = ((charge, key) for charge in charges for key, *_ in charge.plan.rows)
        for (charge, key), stamp in zip(rows, stamps, strict=False):
            window = self._subjects.get(charge.subject, {}).get(key)
            if window is not None:
                window.give_back(int(stamp), charge.cost)

    def add(self, charge: Charge) -> list[int]:
        """Count ``charge`` whatever its limits say; return its stamps."""
        now = self._clock_ns() // 1000
        stamps = []
        with self._lock:
            windows = self._subjects.setdefault(charge.subject, {})
            self._subjects.move_to_end(charge.subject)
            for key, _amount, window_us, bucket_us in charge.plan.rows:
                window = windows.get(key)
                if window is None:
                    window = self._open_window(windows, key, bucket_us)
                window.prune(now - window_us)
                stamps.append(window.add(now, charge.cost))
            if self._windows_count > self._max_windows:
                self._evict()
        return stamps

    def clear(self, subject: str) -> bool:
        """Forget everything about ``subject``; say whether there was anything."""
        with self._lock:
            windows = self._subjects.pop(subject, None)
            self._windows_count -= len(windows or ())
        return bool(windows)

    def show(self, subject: str) -> dict[str, int]:
        """Return how many units each of the subject's windows holds, by the limit's key; stale ones may be counted."""
        with self._lock:
            return {key: len(window) for key, window in self._subjects.get(subject, {}).items() if window}

    def rank(self, count: int) -> list[tuple[str, str, int]]:
        """Return the ``count`` fullest windows, as (subject, limit's key, units)."""
        with self._lock:
            rows = [
                (subject, key, len(window))
                for subject, windows in self._subjects.items()
                for key, window in windows.items()
                if window
            ]
        return sorted(rows, key=lambda row: -row[2])[:count]

    def _open_window(self, windows: dict[str, Window], key: str, bucket_us: int) -> Window:
        window = windows[key] = BucketWindow(bucket_us) if bucket_us else ExactWindow("q")
        self._windows_count += 1
        return window

    def _evict(self) -> None:
        while self._windows_count > self._max_windows and len(self._subjects) > 1:
            _subject, windows = self._subjects.popitem(last=False)
            self._windows_count -= len(windows)
