"""The bounded form of a window: its memory depends on the precision, never on the limit."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right


class Buckets:
    """Units counted by buckets of ``width_us``, each with the running total at its end.

    Running totals make every sum one subtraction. A bucket counts until its end has left the window.
    """

    __slots__ = ("_base", "_numbers", "_totals", "_width_us")

    def __init__(self, width_us: int) -> None:
        self._width_us = width_us
        self._numbers = array("q")
        self._totals = array("q")
        # The running total of everything that has left the window.
        self._base = 0

    def __len__(self) -> int:
        return self._totals[-1] - self._base if self._totals else 0

    def prune(self, horizon_us: int) -> int:
        """Drop the buckets that ended at ``horizon_us`` or before; return how many units are left."""
        numbers = self._numbers
        if not numbers:
            return 0
        last_gone = horizon_us // self._width_us - 1
        if numbers[0] <= last_gone:
            gone = bisect_right(numbers, last_gone)
            self._base = self._totals[gone - 1]
            del numbers[:gone]
            del self._totals[:gone]
            if not numbers:
                self._base = 0
                return 0
        return self._totals[-1] - self._base

    def add(self, now_us: int, cost: int) -> int:
        """Count ``cost`` units now; return the number of their bucket."""
        number = now_us // self._width_us
        numbers, totals = self._numbers, self._totals
        if numbers and numbers[-1] >= number:
            totals[-1] += cost
            return numbers[-1]
        totals.append((totals[-1] if totals else self._base) + cost)
        numbers.append(number)
        return number

    def remove(self, number: int, cost: int) -> None:
        """Take ``cost`` units back out of the bucket ``number``, if it is still there."""
        place = bisect_left(self._numbers, number)
        if place == len(self._numbers) or self._numbers[place] != number:
            return
        before = self._totals[place - 1] if place else self._base
        cost = min(cost, self._totals[place] - before)
        for later in range(place, len(self._totals)):
            self._totals[later] -= cost
        if self._totals[place] == before:
            del self._numbers[place]
            del self._totals[place]

    def first_end(self) -> int:
        """Return when the oldest bucket ends."""
        return (self._numbers[0] + 1) * self._width_us

    def end_of_unit(self, rank: int) -> int:
        """Return when the bucket ends that holds the unit of this ``rank``, the oldest having rank 1."""
        place = bisect_left(self._totals, self._base + rank)
        return (self._numbers[place] + 1) * self._width_us
