"""The peers: limits and Flask-Limiter, asked for exactly what Flask-Limiter asks for in a request with headers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import limits
from limits.storage import storage_from_string
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter, SlidingWindowCounterRateLimiter

if TYPE_CHECKING:
    from limits.strategies import RateLimiter
    from redis import Redis

STRATEGIES: dict[str, type[RateLimiter]] = {
    "moving-window": MovingWindowRateLimiter,
    "fixed-window": FixedWindowRateLimiter,
    "sliding-window-counter": SlidingWindowCounterRateLimiter,
}


class Peer:
    """Flask-Limiter's work for one request: a hit for each limit, and the state of one of them for the headers."""

    def __init__(self, uri: str, strategy: str, notation: str) -> None:
        self.items = limits.parse_many(notation)
        self.limiter = STRATEGIES[strategy](storage_from_string(uri))
        self.strategy = strategy

    def decide(self, subject: str) -> bool:
        """Take one unit of every limit."""
        is_admitted = True
        for item in self.items:
            is_admitted = self.limiter.hit(item, self.strategy, subject) and is_admitted
        self.limiter.get_window_stats(self.items[-1], self.strategy, subject)
        return is_admitted

    def fill(self, client: Redis, subject: str, *, short_of: int = 1) -> None:
        """Fill the moving window of every limit but for ``short_of`` units."""
        pipeline = client.pipeline(transaction=False)
        now = time.time()
        for item in self.items:
            key = self.limiter.storage.prefixed_key(item.key_for(self.strategy, subject))  # type: ignore[attr-defined]
            pipeline.lpush(key, *([now] * (item.amount - short_of)))
            pipeline.expire(key, item.get_expiry())
        pipeline.execute()
