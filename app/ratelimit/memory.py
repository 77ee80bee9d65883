"""The sliding windows in this process's own memory: the same answers as Redis gives, to the microsecond."""

from __future__ import annotations

import threading
import time
from array import array
from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from .buckets import Buckets

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .plan import Charge
    from .store import Values

    # An array of microseconds, or Buckets: a limit's width tells which.
    Window = Any
    Clock = Callable[[], int]

MAX_WINDOWS_DEFAULT: Final = 200_000


def monotonic_us() -> int:
    """Return microseconds on a clock that nobody sets."""
    return time.monotonic_ns() // 1000


class MemoryStore:
    """Windows for at most ``max_windows`` pairs of subject and limit; the subjects idle for longest go first."""

    # It is always there, and forgets only what it evicts.
    reconnected_at: Final = float("-inf")

    def __init__(self, *, max_windows: int = MAX_WINDOWS_DEFAULT, clock: Clock = monotonic_us) -> None:
        self._max_windows = max_windows
        self._clock = clock
        self._subjects: OrderedDict[str, dict[str, Window]] = OrderedDict()
        self._windows_count = 0
        self.reset_after_fork()

    def __len__(self) -> int:
        return self._windows_count

    def reset_after_fork(self) -> None:
        """Forget a lock that another thread of the parent may have held."""
        self._lock = threading.Lock()

    def decide(self, charges: Sequence[Charge]) -> Values:  # noqa: C901, PLR0912, PLR0915 - calls cost as lines do
        """Take every charge, or none of them."""
        now = self._clock()
        values: list[float] = [0, 0, now]
        subjects = self._subjects
        with self._lock:
            # Limits are charged as they are met, which is cheapest when none refuses.
            for plan, subject, cost, _kind in charges:
                windows = subjects.get(subject)
                if windows is None:
                    windows = subjects[subject] = {}
                else:
                    subjects.move_to_end(subject)
                for key, amount, window_us, bucket_us in plan.rows:
                    window: Window = windows.get(key)
                    if window is None:
                        window = self._open_window(windows, key, bucket_us)
                    stamp = now
                    if bucket_us:
                        numbers = window.numbers
                        if numbers:
                            totals = window.totals
                            reset = (numbers[0] + 1) * bucket_us + window_us - now
                            if reset > 0:
                                count = totals[-1] - window.base + cost
                            else:
                                count = window.prune(now - window_us) + cost
                                reset = (numbers[0] + 1) * bucket_us + window_us - now if numbers else 0
                            if count > amount:
                                return self._refuse(charges, now, values)
                            if cost:
                                stamp = now // bucket_us
                                if numbers and numbers[-1] == stamp:
                                    totals[-1] += cost
                                else:
                                    stamp = window.add(now, cost)
                                    reset = (numbers[0] + 1) * bucket_us + window_us - now
                        else:
                            count, reset = cost, 0
                            if count > amount:
                                return self._refuse(charges, now, values)
                            if cost:
                                stamp = window.add(now, cost)
                                reset = (stamp + 1) * bucket_us + window_us - now
                    elif window:
                        reset = window[0] + window_us - now
                        if reset <= 0:
                            del window[: bisect_right(window, now - window_us)]
                            reset = window[0] + window_us - now if window else 0
                        count = len(window) + cost
                        if count > amount:
                            return self._refuse(charges, now, values)
                        if cost == 1 and window and window[-1] < now:
                            window.append(now)
                        elif cost:
                            stamp = _add_units(window, now, cost)
                            reset = window[0] + window_us - now
                    else:
                        count, reset = cost, 0
                        if count > amount:
                            return self._refuse(charges, now, values)
                        if cost:
                            stamp = _add_units(window, now, cost)
                            reset = window_us
                    values += (amount - count, reset, stamp)
            if self._windows_count > self._max_windows:
                self._evict()
        return tuple(values)

    def _refuse(self, charges: Sequence[Charge], now: int, charged: list[float]) -> Values:
        """Take back what the first limits have ``charged``, and tell what a request that waits has to wait for."""
        self._give_back(charges, charged[5::3])
        refused, wait, place = 0, 0, 0
        values: list[float] = []
        for plan, subject, cost, _kind in charges:
            windows = self._subjects.setdefault(subject, {})
            for key, amount, window_us, _bucket_us in plan.rows:
                window = windows.get(key)
                place += 1
                if isinstance(window, Buckets):
                    count = window.prune(now - window_us)
                    reset = window.first_end() + window_us - now if count else 0
                elif window is not None:
                    del window[: bisect_right(window, now - window_us)]
                    count = len(window)
                    reset = window[0] + window_us - now if count else 0
                else:
                    count = reset = 0
                if count + cost > amount:
                    longest = window_us
                    if cost <= amount and window is not None:
                        longest = _find_end(window, count + cost - amount) + window_us - now
                    if longest > wait:
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
            if isinstance(window, Buckets):
                window.remove(int(stamp), charge.cost)
            elif window is not None:
                first = int(stamp)
                del window[bisect_left(window, first) : bisect_left(window, first + charge.cost)]

    def add(self, charge: Charge) -> tuple[int, ...]:
        """Count ``charge`` whatever its limits say; return its stamps."""
        instant = self._clock()
        stamps = []
        with self._lock:
            windows = self._subjects.setdefault(charge.subject, {})
            self._subjects.move_to_end(charge.subject)
            for key, _amount, window_us, bucket_us in charge.plan.rows:
                window = windows.get(key)
                if window is None:
                    window = self._open_window(windows, key, bucket_us)
                if isinstance(window, Buckets):
                    window.prune(instant - window_us)
                    stamps.append(window.add(instant, charge.cost))
                else:
                    del window[: bisect_right(window, instant - window_us)]
                    stamps.append(_add_units(window, instant, charge.cost))
            if self._windows_count > self._max_windows:
                self._evict()
        return tuple(stamps)

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
        window: Window = Buckets(bucket_us) if bucket_us else array("q")
        windows[key] = window
        self._windows_count += 1
        return window

    def _evict(self) -> None:
        while self._windows_count > self._max_windows and len(self._subjects) > 1:
            _subject, windows = self._subjects.popitem(last=False)
            self._windows_count -= len(windows)


def _find_end(window: Window, rank: int) -> int:
    """Return when the unit of this ``rank`` was counted, or when its bucket ends; the oldest has rank 1."""
    return window.end_of_unit(rank) if isinstance(window, Buckets) else window[rank - 1]


def _add_units(log: array[int], now: int, cost: int) -> int:
    """Add ``cost`` units, each at a microsecond of its own, at ``now`` or just after the newest; return the first's."""
    if cost == 1:
        place = bisect_left(log, now)
        if place == len(log) or log[place] != now:
            insort(log, now)
            return now
    first = max(now, log[-1] + 1) if log else now
    log.extend(range(first, first + cost))
    return first
