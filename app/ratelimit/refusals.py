"""Refusals: those that are still certain, and how many there were."""

import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import Final

from .decision import Part
from .plan import US, Charge, Plan
from .store import HEAD_FIELDS, LIMIT_FIELDS, Refusals

CERTAIN_SECONDS_MAX: Final = 1.0
SUBJECTS_MAX: Final = 20_000
MINUTES_KEPT: Final = 15
NAMES_MAX: Final = 1_000


class RefusalCache:
    """Subjects that are known to be refused, for as long as their wait lasts, and at most a second.

    Within that second an administrator's reset, or a refund in another process, does not show.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[Plan, str], tuple[float, float, int, Part]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def add(self, part: Part, charge: Charge, *, now: float) -> None:
        """Remember that ``charge`` was refused at ``now``, as ``part`` tells."""
        known = self._known
        if len(known) >= SUBJECTS_MAX:
            known.clear()
        ends_at = now + part.values[1] / US
        known[charge.plan, charge.subject] = (min(ends_at, now + CERTAIN_SECONDS_MAX), ends_at, charge.cost, part)

    def find(self, charges: Sequence[Charge], now: float) -> Part | None:
        """Return the refusal that is certain for one of ``charges``, as it would be told at ``now``."""
        for plan, subject, cost, _kind in charges:
            entry = self._known.get((plan, subject))
            if entry is not None:
                until, ends_at, refused_cost, part = entry
                if now >= until:
                    self._known.pop((plan, subject), None)
                elif cost >= refused_cost:
                    return _age(part, wait_us=int((ends_at - now) * US))
        return None

    def clear(self) -> None:
        """Forget every refusal."""
        self._known.clear()


def _age(part: Part, *, wait_us: int) -> Part:
    """Return the refusal ``part`` with what is left of its wait and of the time until more comes back."""
    values = list(part.values)
    passed_us = values[1] - wait_us
    values[1] = wait_us
    for place in range(HEAD_FIELDS + 1, len(values), LIMIT_FIELDS):
        values[place] = max(0, values[place] - passed_us)
    return part._replace(values=tuple(values))


class RefusalTally:
    """How many refusals there were in the last minutes in this process, and of whom by which limit."""

    def __init__(self) -> None:
        self._minutes: deque[tuple[int, Counter[tuple[str, str]]]] = deque(maxlen=MINUTES_KEPT)
        # What was told to others already.
        self._told: dict[int, Counter[tuple[str, str]]] = {}

    def add(self, limit_name: str, subject: str) -> None:
        """Count one refusal."""
        minute = int(time.time() // 60)
        # A clock that is set back goes on with the last minute: each has one counter.
        if not self._minutes or self._minutes[-1][0] < minute:
            self._minutes.append((minute, Counter()))
        counter = self._minutes[-1][1]
        key = (limit_name, subject)
        if key in counter or len(counter) < NAMES_MAX:
            counter[key] += 1
        else:
            counter[limit_name, ""] += 1

    def count(self, *, minutes: int = 5) -> Counter[tuple[str, str]]:
        """Return the refusals of the last ``minutes`` by limit and subject; an empty subject stands for the rest."""
        wanted = list_minutes(minutes)
        total: Counter[tuple[str, str]] = Counter()
        for minute, counter in list(self._minutes):
            if minute in wanted:
                total.update(counter.copy())
        return total

    def take_untold(self) -> Refusals:
        """Return the refusals that were not returned before."""
        kept = list(self._minutes)
        news = []
        told = {}
        for minute, counter in kept:
            told[minute] = counter.copy()
            new = told[minute] - self._told.get(minute, Counter())
            if new:
                news.append((minute, new))
        self._told = told
        return news

    def restore(self, refusals: Refusals) -> None:
        """Count ``refusals`` as untold again."""
        for minute, counter in refusals:
            self._told.get(minute, Counter()).subtract(counter)


def list_minutes(count: int) -> range:
    """Return the last ``count`` minutes since 1970, the present one included."""
    now = int(time.time() // 60)
    return range(now - count + 1, now + 1)
