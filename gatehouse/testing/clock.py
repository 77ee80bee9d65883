"""A clock that a test turns."""

import datetime


class Clock:
    """Stands still until it is turned."""

    def __init__(self) -> None:
        self.instant = datetime.datetime.now(datetime.UTC)

    def now(self) -> datetime.datetime:
        """Return what the clock shows."""
        return self.instant

    def advance(self, seconds: float) -> None:
        """Turn the clock."""
        self.instant += datetime.timedelta(seconds=seconds)
