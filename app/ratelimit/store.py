"""The one interface of the places that count: this process's memory, and Redis servers."""

from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from .plan import Charge

HEAD_FIELDS: Final = 3
LIMIT_FIELDS: Final = 3

# A store's answer: the 1-based place of the limit that refused (0: none), the wait and the store's time, both in
# microseconds, and for each limit what is left, when more comes back (µs from now), and the stamp of the charge.
Values = tuple[float, ...]

# For each minute since 1970: how often which limit refused whom.
Refusals = list[tuple[int, Counter[tuple[str, str]]]]


class StoreUnavailable(Exception):
    """The store did not decide, and nobody may wait for it any longer. It never leaves the limiter."""


class Store(Protocol):
    """Where units are counted."""

    @property
    def reconnected_at(self) -> float:
        """When it may last have lost what it knew, on the monotonic clock; infinitely long ago if never."""

    def decide(self, charges: Sequence[Charge]) -> Values:
        """Take every charge, or none of them.

        Raises:
            StoreUnavailable: it does not decide.
        """

    def refund(self, charges: Sequence[Charge], stamps: Sequence[float]) -> None:
        """Give back what ``charges`` took under ``stamps``, one stamp for each limit.

        Raises:
            StoreUnavailable: what was taken stays taken until it leaves its windows.
        """

    def add(self, charge: Charge) -> object:
        """Count ``charge`` whatever its limits say.

        Raises:
            StoreUnavailable: it may not have been counted.
        """


class Held(NamedTuple):
    """The units that a window holds: whose, and by which limit."""

    subject: str
    limit: str
    units: int
