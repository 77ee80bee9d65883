"""The sliding windows of one subject and limit: each unit by its microsecond, or units by buckets.

Both forms answer alike. Instants are microseconds on the store's clock.
"""

from array import array
from bisect import bisect_left, bisect_right, insort

# What is left of a limit, when more comes back (µs from now), and the stamp by which the charge can be given back.
Taken = tuple[int, int, int]


class ExactWindow(array):  # type: ignore[type-arg] # array can be parametrised from Python 3.12 on
    """The instants of all units, each at a microsecond of its own. Make it with ``"q"``."""

    __slots__ = ()

    def take(self, now: int, cost: int, amount: int, window_us: int) -> Taken | None:
        """Count ``cost`` units now, unless that would be more than ``amount``."""
        if self and self[0] + window_us <= now:
            self.prune(now - window_us)
        count = len(self) + cost
        if count > amount:
            return None
        stamp = self.add(now, cost) if cost else now
        return amount - count, self[0] + window_us - now if count else 0, stamp

    def prune(self, horizon_us: int) -> int:
        """Drop the units of ``horizon_us`` or before; return how many are left."""
        del self[: bisect_right(self, horizon_us)]
        return len(self)

    def add(self, now: int, cost: int) -> int:
        """Count ``cost`` units at ``now`` or just after the newest; return the first one's instant."""
        if cost == 1:
            place = bisect_left(self, now)
            if place == len(self) or self[place] != now:
                insort(self, now)
                return now
        first = max(now, self[-1] + 1) if self else now
        self.extend(array("q", range(first, first + cost)))
        return first

    def give_back(self, first: int, cost: int) -> None:
        """Take back the ``cost`` units that were counted from the instant ``first`` on, as far as they are there."""
        del self[bisect_left(self, first) : bisect_left(self, first + cost)]

    def end_of_unit(self, rank: int) -> int:
        """Return from when the unit of this ``rank`` counts for its window's length, the oldest having rank 1."""
        instant: int = self[rank - 1]
        return instant


class BucketWindow:
    """Units counted by buckets of ``width_us``, each with the running total at its end.

    Running totals make every sum one subtraction, and memory does not grow with the limit. A bucket counts until its
    end has left the window.
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

    def take(self, now: int, cost: int, amount: int, window_us: int) -> Taken | None:
        """Count ``cost`` units now, unless that would be more than ``amount``."""
        numbers = self.numbers
        count = cost
        if numbers:
            has_left = (numbers[0] + 1) * self.width_us + window_us <= now
            count += self.prune(now - window_us) if has_left else self.totals[-1] - self.base
        if count > amount:
            return None
        stamp = self.add(now, cost) if cost else now
        return amount - count, (numbers[0] + 1) * self.width_us + window_us - now if count else 0, stamp

    def prune(self, horizon_us: int) -> int:
        """Drop the buckets that ended at ``horizon_us`` or before; return how many units are left."""
        numbers, totals = self.numbers, self.totals
        gone = bisect_right(numbers, horizon_us // self.width_us - 1)
        if gone:
            self.base = totals[gone - 1]
            del numbers[:gone]
            del totals[:gone]
        return len(self)

    def add(self, now: int, cost: int) -> int:
        """Count ``cost`` units now; return the number of their bucket."""
        number = now // self.width_us
        numbers, totals = self.numbers, self.totals
        if numbers and numbers[-1] >= number:
            totals[-1] += cost
            return numbers[-1]
        totals.append((totals[-1] if totals else self.base) + cost)
        numbers.append(number)
        return number

    def give_back(self, number: int, cost: int) -> None:
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

    def end_of_unit(self, rank: int) -> int:
        """Return when the bucket ends that holds the unit of this ``rank``, the oldest having rank 1."""
        place = bisect_left(self.totals, self.base + rank)
        return (self.numbers[place] + 1) * self.width_us


Window = ExactWindow | BucketWindow
