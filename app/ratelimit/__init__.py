"""TEMP."""

import limits


def parse_limits(text: str) -> list[limits.RateLimitItem]:
    """Return the limits that ``text`` names."""
    return limits.parse_many(text)
