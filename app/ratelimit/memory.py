"""The sliding windows in this process's own memory: the same answers as Redis gives, to the microsecond."""

from __future__ import annotations

import threading
import time
from array import array
from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from .buckets import Buckets

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .decision import Values
    from .plan import Charge

    Window = array[int] | Buckets
    Clock = Callable[[], int]

MAX_WINDOWS_DEFAULT: Final = 200_000


def monotonic_us() -> int:
    """Return microseconds on a clock that nobody sets."""
    return time.monotonic_ns() // 1000


class MemoryStore:
    """Windows for at most ``max_windows`` pairs of subject and limit; the subjects idle for longest go first."""

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

    def decide(self, charges: Sequence[Charge]) -> Values:
        """Take every charge, or none of them."""
        now = self._clock()
        states: list[tuple[Window, int, int, int]] = []
        refused, wait = 0, 0
        with self._lock:
            for plan, subject, cost, _kind in charges:
                windows = self._subjects.get(subject)
                if windows is None:
                    windows = self._subjects[subject] = {}
                else:
                    self._subjects.move_to_end(subject)
                for key, amount, window_us, bucket_us in plan.rows:
                    window = windows.get(key)
                    if window is None:
                        window = windows[key] = Buckets(bucket_us) if bucket_us else array("q")
                        self._windows_count += 1
                    if bucket_us:
                        count = window.prune(now - window_us)  # type: ignore[union-attr] # the key tells the form
                    else:
                        if window and window[0] <= now - window_us:  # type: ignore[index] # the key tells the form
                            del window[: bisect_right(window, now - window_us)]  # type: ignore[arg-type,attr-defined]
                        count = len(window)  # type: ignore[arg-type]
                    states.append((window, count, window_us, cost))
                    if count + cost > amount:
                        longest = _measure_wait(window, count, cost, amount=amount, window_us=window_us, now=now)
                        if not refused or longest > wait:
                            refused, wait = len(states), longest
            values: list[float] = [refused, wait, now]
            place = 0
            for plan, _subject, cost, _kind in charges:
                for _key, amount, window_us, bucket_us in plan.rows:
                    window, count, _, _ = states[place]
                    place += 1
                    stamp = 0
                    if not refused and cost:
                        count += cost
                        if bucket_us:
                            stamp = window.add(now, cost)  # type: ignore[union-attr]
                        elif cost == 1 and (not window or window[-1] < now):  # type: ignore[index]
                            window.append(now)  # type: ignore[union-attr]
                            stamp = now
                        else:
                            stamp = _add_units(window, now, cost)  # type: ignore[arg-type]
                    if not count:
                        reset = 0
                    elif bucket_us:
                        reset = window.first_end() + window_us - now  # type: ignore[union-attr]
                    else:
                        reset = window[0] + window_us - now  # type: ignore[index]
                    values += (max(0, amount - count), reset, stamp)
            if self._windows_count > self._max_windows:
                self._evict()
        return tuple(values)

    def refund(self, charges: Sequence[Charge], stamps: Sequence[float]) -> None:
        """Give back what ``charges`` took under ``stamps``, one stamp for each limit."""
        remaining = iter(stamps)
        with self._lock:
            for plan, subject, cost, _kind in charges:
                windows = self._subjects.get(subject, {})
                for key, _amount, _window_us, _bucket_us in plan.rows:
                    stamp = int(next(remaining))
                    window = windows.get(key) if cost else None
                    if isinstance(window, Buckets):
                        window.remove(stamp, cost)
                    elif window is not None:
                        del window[bisect_left(window, stamp) : bisect_left(window, stamp + cost)]

    def note(self, charge: Charge, *, age_us: int = 0) -> tuple[int, ...]:
        """Count ``charge``, which was admitted elsewhere ``age_us`` ago, whatever its limits say; return its stamps."""
        instant = self._clock() - age_us
        stamps = []
        with self._lock:
            windows = self._subjects.setdefault(charge.subject, {})
            self._subjects.move_to_end(charge.subject)
            for key, _amount, window_us, bucket_us in charge.plan.rows:
                window = windows.get(key)
                if window is None:
                    window = windows[key] = Buckets(bucket_us) if bucket_us else array("q")
                    self._windows_count += 1
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
            return {key: len(window) for key, window in self._subjects.get(subject, {}).items()}

    def rank(self, count: int) -> list[tuple[str, str, int]]:
        """Return the ``count`` fullest windows, as (subject, limit's key, units)."""
        with self._lock:
            rows = [
                (subject, key, len(window))
                for subject, windows in self._subjects.items()
                for key, window in windows.items()
            ]
        return sorted(rows, key=lambda row: -row[2])[:count]

    def _evict(self) -> None:
        while self._windows_count > self._max_windows and len(self._subjects) > 1:
            _subject, windows = self._subjects.popitem(last=False)
            self._windows_count -= len(windows)


def _measure_wait(window: Window, count: int, cost: int, *, amount: int, window_us: int, now: int) -> int:
    """Return the microseconds until ``cost`` units fit; a cost above the amount never does: a whole window."""
    surplus = count + cost - amount
    if cost > amount:
        return window_us
    if isinstance(window, Buckets):
        return window.end_of_unit(surplus) + window_us - now
    return window[surplus - 1] + window_us - now


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
