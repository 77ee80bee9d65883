"""From a database's URL to an engine that keeps its promises."""

from .deadlines import time_limit
from .engine import make_engine
from .faults import CommitOutcomeUnknown, ConnectionLost, DatabaseUnavailable
from .retry import retrying, run_again
from .url import DatabaseTarget, DatabaseUrlError, parse_database_url

__all__ = [
    "CommitOutcomeUnknown",
    "ConnectionLost",
    "DatabaseTarget",
    "DatabaseUnavailable",
    "DatabaseUrlError",
    "make_engine",
    "parse_database_url",
    "retrying",
    "run_again",
    "time_limit",
]
