"""Whether the database is there, said at once."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Callable, Mapping
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
# dialect -> what to ask, and the last column of every row where writes are taken
_LOOKS: Final[Mapping[Dialect, tuple[str, str]]] = {
    "sqlite": ("SELECT 'OFF'", "OFF"),
    "postgresql": ("SHOW transaction_read_only", "OFF"),
    "mysql": (LIST_READ_ONLY, "OFF"),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Health:
    """What a look at the database found."""

    state: State

    @property
    def is_ok(self) -> bool:
        """Whether the database answers and takes writes."""
        return self.state == "ok"


def probe(engine: sa.Engine, *, timeout_ms: int = 100) -> Health:
    """Say how the database of an engine of ``make_engine`` is, in ``timeout_ms`` at most.

    The look itself happens in the background, on a connection that is not the pool's, one at a time however many ask: a
    host name that does not resolve or a server that is silent keeps nobody waiting, and a server whose first connection
    takes longer than ``timeout_ms`` is found well the next time.
    """
    background: Probe = engine.get_execution_options()[PROBE]
    return Health(background.ask(within_seconds=timeout_ms / 1000))


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
        self._looking: _Look | None = None

    def ask(self, *, within_seconds: float) -> State:
        """Return what the present look finds, or that it finds nothing in time."""
        if self._pid != os.getpid():
            # A child process has no threads of its parent's, and leaves it its connection.
            self._begin()
        with self._lock:
            if self._looking is None:
                self._looking = _Look()
                threading.Thread(target=self._run, args=(self._looking,), name="database probe", daemon=True).start()
            look = self._looking
        return look.state if look.is_over.wait(within_seconds) else "away"

    def _run(self, look: _Look) -> None:
        try:
            look.state = self._find_state()
        finally:
            with self._lock:
                self._looking = None
            look.is_over.set()

    def _find_state(self) -> State:
        statement, expected = _LOOKS[self._dialect]
        if self._engine is None:
            self._engine = self._make_engine()
        try:
            if self._file is not None:
                self._file.check()
            with self._engine.connect().execution_options(**{READS_ONCE: True}) as connection:
                values = {str(row[-1]).upper() for row in connection.exec_driver_sql(statement)}
        except DatabaseFileGone:
            return "file_gone"
        except (sa.exc.SQLAlchemyError, DatabaseUnavailable):
            return "away"
        if self._file is not None and not self._file.is_writable:
            return "read_only"
        return "ok" if values == {expected} else "read_only"


class _Look:
    """A look at the database: what it found, once it is over."""

    def __init__(self) -> None:
        self.state: State = "away"
        self.is_over = threading.Event()
