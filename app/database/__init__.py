"""From a database's URL to an engine that keeps its promises."""

from .deadlines import time_limit
from .diagnosis import Diagnosis, diagnose
from .engine import lift_time_limits, make_engine
from .faults import (
    CommitOutcomeUnknown,
    ConnectionLost,
    DatabaseUnavailable,
    ReferenceRefused,
    refuse_duplicate,
    refuse_missing,
)
from .insertion import insert_unless_there
from .lookup import Lookup, Query
from .probe import probe
from .references import find_referring_table, list_referring_tables
from .retry import run_again
from .sqlite_file import make_database_file
from .transactions import READS_ONCE
from .url import TLS_WORDS, DatabaseTarget, DatabaseUrlError, parse_database_url
