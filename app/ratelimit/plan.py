"""Limits, read once from their notation and compiled into what a store is asked with."""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NamedTuple

import limits as notation

from .subject import encode_subject

# 120 entries of 20 bytes stay in a listpack (Redis' zset-max-listpack-entries is 128), in under 2.7 kB.
EXACT_AMOUNT_MAX: Final = 120
PRECISION_DEFAULT: Final = 100
PRECISION_RANGE: Final = range(10, 121)
AMOUNT_MAX: Final = 1_000_000_000
WINDOW_SECONDS_MAX: Final = 366 * 24 * 3600
US: Final = 1_000_000
KEY_PREFIX: Final = "rl1:"
ALLOWED_NOTATION: Final = (
    'limits such as "10/minute;100/hour" or "5 per 15 minutes": each an amount from 1 to 1000000000'
    " and a window (second, minute, hour, day, month or year, or several of them; at most 366 days)"
)

_SPEC: Final = struct.Struct("<dddd")


class LimitError(ValueError):
    """A limit is malformed; the message shows what is allowed."""


class Fallback(enum.StrEnum):
    """What decides while the store is away."""

    LOCAL = "local"
    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits such as ``10/minute;100/hour``, made by ``parse_limits``: the ``text``, and each as (amount, seconds)."""

    text: str
    pairs: tuple[tuple[int, int], ...] = field(compare=False, repr=False)

    @property
    def generosity(self) -> tuple[float, int]:
        """By what limits are compared: units a second that they admit for ever, then units at once."""
        return min(amount / seconds for amount, seconds in self.pairs), min(amount for amount, _ in self.pairs)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Limit:
    """At most ``amount`` in any trailing window of ``window_us`` microseconds.

    With a ``bucket_us`` of 0 each unit leaves the window to the microsecond. Otherwise units are kept by buckets of
    that width, and a bucket leaves when its end does: never more than ``amount`` in a window, and what is used comes
    back at most ``bucket_us`` late.

    A strict limit is one that must hold through an outage of the store, such as the guesses at a password: each
    process remembers what it admitted, and while it decides alone it grants only its share.
    """

    amount: int
    window_us: int
    scope: str = "default"
    bucket_us: int = 0
    fallback: Fallback | None = None
    is_strict: bool = False
    name: str = field(init=False)
    key: str = field(init=False)

    def __post_init__(self) -> None:
        """Name the limit, for headers and inside keys."""
        seconds = self.window_us // US
        form = f"b{self.bucket_us}" if self.bucket_us else "e"
        object.__setattr__(self, "name", f"{encode_subject(self.scope)}-{seconds}")
        # The amount is no part of the key: a limit that is changed at run time keeps what it has counted.
        object.__setattr__(self, "key", f"{encode_subject(self.scope)}:{seconds}:{form}")

    def __str__(self) -> str:
        return f"{self.amount}/{self.window_us // US}s"


class ChargeKind(enum.Enum):
    """What becomes of a charge after the decision."""

    LASTING = "lasting"
    # Given back when the request succeeds: only failures count, and parallel guesses find no gap.
    PROVISIONAL = "provisional"
    # Beside a provisional charge, until its request is over: who is refused meanwhile waits for what becomes of that.
    RESERVATION = "reservation"
    # Asks whether the subject was refused too often, at a cost of 0; each refusal counts one.
    BLOCK = "block"


class Charge(NamedTuple):
    """``cost`` units that ``subject`` asks of every limit of ``plan``."""

    plan: Plan
    subject: str
    cost: int = 1
    kind: ChargeKind = ChargeKind.LASTING


class Plan:
    """The limits that one subject meets in one place, compiled: build it once, use it for every request."""

    __slots__ = (
        "_specs",
        "is_strict",
        "key_lengths",
        "keys_template",
        "limits",
        "longest_us",
        "policy_text",
        "rows",
        "state_template",
    )

    def __init__(self, limits: Iterable[Limit]) -> None:
        self.limits = _keep_strictest(limits)
        self.is_strict = any(limit.is_strict for limit in self.limits)
        self.longest_us = max((limit.window_us for limit in self.limits), default=0)
        self.rows = tuple((limit.key, limit.amount, limit.window_us, limit.bucket_us) for limit in self.limits)
        self.policy_text = ", ".join(
            f'"{limit.name}";q={limit.amount};w={limit.window_us // US}' for limit in self.limits
        )
        self.state_template = ", ".join(f'"{limit.name.replace("%", "%%")}";r=%d;t=%d' for limit in self.limits)
        suffixes = [f"}}:{limit.key}".encode() for limit in self.limits]
        head = KEY_PREFIX.encode() + b"{"
        self.key_lengths = tuple(len(head) + len(suffix) for suffix in suffixes)
        self.keys_template = b"".join(
            b"$%%d\r\n%b%%b%b\r\n" % (head, suffix.replace(b"%", b"%%")) for suffix in suffixes
        )
        self._specs: dict[int, bytes] = {}

    def __repr__(self) -> str:
        return f"Plan({', '.join(f'{limit.scope} {limit}' for limit in self.limits)})"

    def spec(self, cost: int) -> bytes:
        """Return what the scripts need to know of every limit: amount, window, bucket width and cost."""
        spec = self._specs.get(cost)
        if spec is None:
            spec = b"".join(_SPEC.pack(limit.amount, limit.window_us, limit.bucket_us, cost) for limit in self.limits)
            if len(self._specs) < 64:  # a cost may come from a request: remember only so many
                self._specs[cost] = spec
        return spec

    def fill_keys(self, subject: bytes) -> bytes:
        """Return the keys of ``subject`` as arguments of a Redis command."""
        length = len(subject)
        values: list[int | bytes] = []
        for key_length in self.key_lengths:
            values += (key_length + length, subject)
        return self.keys_template % tuple(values)

    def name_keys(self, subject: str) -> list[str]:
        """Return the keys of ``subject``, one for each limit."""
        return [f"{KEY_PREFIX}{{{encode_subject(subject)}}}:{limit.key}" for limit in self.limits]


def name_limit(key: str) -> str:
    """Return the name of the limit that has this ``key``."""
    scope, seconds, _form = key.rsplit(":", 2)
    return f"{scope}-{seconds}"


def _keep_strictest(limits: Iterable[Limit]) -> tuple[Limit, ...]:
    """Return ``limits`` without those that would count the same units in the same key twice."""
    strictest: dict[str, Limit] = {}
    for limit in limits:
        known = strictest.get(limit.key)
        if known is None or limit.amount < known.amount:
            strictest[limit.key] = limit
    return tuple(strictest.values())


@lru_cache(maxsize=1024)
def parse_limits(text: str) -> Limits:
    """Return the limits that ``text`` spells out.

    Raises:
        LimitError: ``text`` is malformed.
    """
    try:
        items = notation.parse_many(text)
    except ValueError:
        raise LimitError(f"expected {ALLOWED_NOTATION}; got {text[:80]!r}") from None
    pairs = tuple((item.amount, item.get_expiry()) for item in items)
    # The library takes "10/0 minutes" for one minute; here nobody has to guess.
    matches = map(notation.util.SINGLE_EXPR.match, notation.util.SEPARATORS.split(text))
    has_zero_window = any(match and match[3] and int(match[3]) == 0 for match in matches)
    if has_zero_window or not all(
        1 <= amount <= AMOUNT_MAX and seconds <= WINDOW_SECONDS_MAX for amount, seconds in pairs
    ):
        raise LimitError(f"expected {ALLOWED_NOTATION}; got {text[:80]!r}")
    return Limits(text, pairs)


def make_limit(
    amount: int,
    *,
    seconds: int,
    scope: str = "default",
    precision: int = PRECISION_DEFAULT,
    fallback: Fallback | None = None,
    is_strict: bool = False,
) -> Limit:
    """Return the limit of ``amount`` in ``seconds``: exact when small, in ``precision`` buckets a window when large."""
    window_us = seconds * US
    bucket_us = 0 if amount <= EXACT_AMOUNT_MAX else -(-window_us // precision)
    return Limit(amount, window_us, scope, bucket_us, fallback, is_strict)


def compile_plan(
    limits: Limits | str,
    *,
    scope: str = "default",
    precision: int = PRECISION_DEFAULT,
    fallback: Fallback | None = None,
    is_strict: bool = False,
) -> Plan:
    """Return the plan of ``limits``; those of one ``scope`` and one window share their counters.

    Raises:
        LimitError: a text is malformed, or the precision is not in ``PRECISION_RANGE``.
    """
    if precision not in PRECISION_RANGE:
        raise LimitError(f"expected a precision from {PRECISION_RANGE[0]} to {PRECISION_RANGE[-1]}; got {precision}")
    return Plan(
        make_limit(amount, seconds=seconds, scope=scope, precision=precision, fallback=fallback, is_strict=is_strict)
        for amount, seconds in (parse_limits(limits) if isinstance(limits, str) else limits).pairs
    )
