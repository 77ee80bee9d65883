"""Whether the database is there, said at once."""

import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Final, Literal

import sqlalchemy as sa

from .faults import DatabaseFileGone, DatabaseUnavailable
from .mysql import LIST_READ_ONLY
from .sqlite_file import DatabaseFile
from .transactions import READS_ONCE
from .url import Dialect

State = Literal["ok", "read_only", "file_gone", "away"]

# The execution option of an engine that holds its ``Probe``.
PROBE: Final = "database_probe"
LOOK_SECONDS: Final = 1.0
# dialect -> what to ask; the last column of every row is OFF where writes are taken
_LOOKS: Final[Mapping[Dialect, str]] = {
    "sqlite": "SELECT 'OFF'",
    "postgresql": "SHOW transaction_read_only",
    "mysql": LIST_READ_ONLY,
}


def probe(engine: sa.Engine, *, timeout_ms: int = 100) -> State:
    """Say how the database of an engine of ``make_engine`` is, in ``timeout_ms`` at most.

    The look itself happens in the background, on a connection that is not the pool's, one at a time however many ask: a
    host name that does not resolve or a server that is silent keeps nobody waiting, and a server whose first connection
    takes longer than ``timeout_ms`` is found well the next time.
    """
    background: Probe = engine.get_execution_options()[PROBE]
    return background.ask(within_seconds=timeout_ms / 1000)


class Probe:
    """One look at a time, shared by all who ask while it lasts."""

    def __init__(self, dialect: Dialect, make_engine: Callable[[], sa.Engine], file: DatabaseFile | None) -> None:
        """``make_engine`` makes what to look through; ``file`` is the one that the application is connected to."""
        self._dialect = dialect
        self._make_engine = make_engine
        self._file = file
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._engine: sa.Engine | None = None
        self._lock = threading.Lock()
        self._looking: Future[State] | None = None

    def ask(self, *, within_seconds: float) -> State:
        """Return what the present look finds, or that it finds nothing in time."""
        if self._pid != os.getpid():
            # A child process has no threads of its parent's, and leaves it its connection.
            self._begin()
        with self._lock:
            if self._looking is None:
                self._looking = Future()
                threading.Thread(target=self._run, args=(self._looking,), name="database probe", daemon=True).start()
            look = self._looking
        try:
            return look.result(within_seconds)
        except TimeoutError:
            return "away"

    def _run(self, look: Future[State]) -> None:
        state: State = "away"
        try:
            state = self._find_state()
        finally:
            with self._lock:
                self._looking = None
            look.set_result(state)

    def _find_state(self) -> State:
        if self._engine is None:
            self._engine = self._make_engine()
        try:
            with self._engine.connect().execution_options(**{READS_ONCE: True}) as connection:
                values = {str(row[-1]).upper() for row in connection.exec_driver_sql(_LOOKS[self._dialect])}
        except DatabaseFileGone:
            return "file_gone"
        except (sa.exc.SQLAlchemyError, DatabaseUnavailable):
            return "away"
        is_writable = self._file is None or self._file.is_writable
        return "ok" if is_writable and values == {"OFF"} else "read_only"
