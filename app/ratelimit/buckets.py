"""The bounded form of a window: its memory depends on the precision, never on the limit."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right


class Buckets:
    """Units counted by buckets of ``width_us``, each with the running total at its end.

    Running totals make every sum one subtraction. A bucket counts until its end has left the window.
    """

    __slots__ = ("base", "numbers", "totals", "width_us")

    def __init__(self, width_us: int) -> None:
        self.width_us = width_us
        self.numbers = array("q")
        self.totals = array("q")
        # The running total of everything that has left the window.
        self.base = 0

    def __len__(self) -> int:
        return self.totals[-1] - self.base if self.totals else 0

    def prune(self, horizon_us: int) -> int:
        """Drop the buckets that ended at ``horizon_us`` or before; return how many units are left."""
        numbers = self.numbers
        if not numbers:
            return 0
        last_gone = horizon_us // self.width_us - 1
        if numbers[0] <= last_gone:
            gone = bisect_right(numbers, last_gone)
            self.base = self.totals[gone - 1]
            del numbers[:gone]
            del self.totals[:gone]
            if not numbers:
                self.base = 0
                return 0
        return self.totals[-1] - self.base

    def add(self, now_us: int, cost: int) -> int:
        """Count ``cost`` units now; return the number of their bucket."""
        number = now_us // self.width_us
        numbers, totals = self.numbers, self.totals
        if numbers and numbers[-1] >= number:
            totals[-1] += cost
            return numbers[-1]
        totals.append((totals[-1] if totals else self.base) + cost)
        numbers.append(number)
        return number

    def remove(self, number: int, cost: int) -> None:
        """Take ``cost`` units back out of the bucket ``number``, if it is still there."""
        place = bisect_left(self.numbers, number)
        if place == len(self.numbers) or self.numbers[place] != number:
            return
        before = self.totals[place - 1] if place else self.base
        cost = min(cost, self.totals[place] - before)
        for later in range(place, len(self.totals)):
            self.totals[later] -= cost
        if self.totals[place] == before:
            del self.numbers[place]
            del self.totals[place]

    def first_end(self) -> int:
        """Return when the oldest bucket ends."""
        return (self.numbers[0] + 1) * self.width_us

    def end_of_unit(self, rank: int) -> int:
        """Return when the bucket ends that holds the unit of this ``rank``, the oldest having rank 1."""
        place = bisect_left(self.totals, self.base + rank)
        return (self.numbers[place] + 1) * self.width_us
