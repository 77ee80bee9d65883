"""What was decided, in a form that costs nothing until somebody asks."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from .plan import US, Charge, ChargeKind, Limit
from .store import HEAD_FIELDS, LIMIT_FIELDS, Store, Values


class Outcome(NamedTuple):
    """One limit after the decision: what is left, and in how many microseconds more comes back."""

    limit: Limit
    remaining: int
    reset_us: int

    @property
    def reset_seconds(self) -> int:
        """The whole seconds until more comes back."""
        return -(-self.reset_us // US)


class Part(NamedTuple):
    """The charges that one store took, or refused, together."""

    charges: Sequence[Charge]
    values: Values
    store: Store | None
    is_local: bool = False
    is_strict: bool = False

    @property
    def outcomes(self) -> list[Outcome]:
        """Every limit of this part."""
        limits = [limit for charge in self.charges for limit in charge.plan.limits]
        values = self.values
        return [
            Outcome(limit, int(values[place]), int(values[place + 1]))
            for limit, place in zip(limits, range(HEAD_FIELDS, len(values), LIMIT_FIELDS), strict=True)
        ]

    @property
    def is_pending(self) -> bool:
        """Whether what refused may still come back, because requests that it was charged for are not over."""
        place = int(self.values[0]) - 1
        for (charge, _values), (beside, values) in pairwise(self.slices()):
            if place < len(charge.plan.limits):
                # A reservation stands right behind the charge that it was made for.
                return beside.kind is ChargeKind.RESERVATION and values[0] < beside.plan.limits[0].amount
            place -= len(charge.plan.limits)
        return False

    def slices(self) -> list[tuple[Charge, Values]]:
        """Return every charge with its own values: remaining, reset and stamp of each of its limits."""
        rows = []
        first = HEAD_FIELDS
        for charge in self.charges:
            last = first + LIMIT_FIELDS * len(charge.plan.limits)
            rows.append((charge, self.values[first:last]))
            first = last
        return rows


class Decision:
    """What a request is told: that it may go on, and what is left of each of its limits."""

    # Most decisions have these in common. As attributes of the class they cost nothing.
    is_admitted = True
    is_local = False
    # Repeated from the refusals that are certain, without asking a store.
    is_cached = False
    # Refused, but only for the sake of requests whose outcome is still open.
    is_pending = False
    wait_us = 0
    refused_part: Part | None = None
    # What this process counted in its own memory as well.
    remembered: tuple[Part, ...] = ()

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = parts

    def __repr__(self) -> str:
        verdict = "admitted" if self.is_admitted else f"refused for {self.wait_us} µs by {self.refused_by}"
        return f"<Decision {verdict}{', locally' if self.is_local else ''}>"

    @property
    def outcomes(self) -> list[Outcome]:
        """Every limit that took part."""
        return [outcome for part in self.parts for outcome in part.outcomes]

    @property
    def refused_by(self) -> Limit | None:
        """The limit that asks for the longest wait, if any refused."""
        part = self.refused_part
        if part is None or not part.values[0]:
            return None
        return part.outcomes[int(part.values[0]) - 1].limit

    @property
    def retry_after_seconds(self) -> int:
        """The whole seconds after which the same request is admitted if nobody else comes; at least 1."""
        return max(1, -(-self.wait_us // US))


class Refusal(Decision):
    """What a request is told that may not go on: it has to wait for as long as ``refused_part`` says."""

    is_admitted = False

    def __init__(
        self,
        parts: Sequence[Part],
        refused_part: Part | None = None,
        *,
        is_local: bool = False,
        is_cached: bool = False,
        is_pending: bool = False,
    ) -> None:
        super().__init__(parts)
        self.refused_part = refused_part
        self.wait_us = 0 if refused_part is None else int(refused_part.values[1])
        self.is_local = is_local
        self.is_cached = is_cached
        self.is_pending = is_pending
