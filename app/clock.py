"""The time; a test puts another clock in place that it can turn."""

import datetime


class Clock:
    """Tells the time."""

    def now(self) -> datetime.datetime:
        """Return this instant in UTC, to the microsecond."""
        return datetime.datetime.now(datetime.UTC)


clock = Clock()


def now() -> datetime.datetime:
    """Return this instant in UTC, to the microsecond, by ``clock``."""
    return clock.now()
