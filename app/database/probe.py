"""Whether the database is there, said at once."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from typing import TYPE_CHECKING, Final, Literal
from weakref import WeakKeyDictionary

import sqlalchemy as sa

from .engine import get_target, make_engine
from .faults import DatabaseFileGone, DatabaseUnavailable
from .mysql import LIST_READ_ONLY
from .sqlite import get_file
from .transactions import READS_ONCE

if TYPE_CHECKING:
    from collections.abc import Mapping

State = Literal["ok", "read_only", "file_gone", "away"]

LOOK_SECONDS: Final = 1.0
# dialect -> what to ask, and the last column of every row where writes are taken
_LOOKS: Final[Mapping[str, tuple[str, str]]] = {
    "sqlite": ("SELECT 'OFF'", "OFF"),
    "postgresql": ("SHOW transaction_read_only", "OFF"),
    "mysql": (LIST_READ_ONLY, "OFF"),
}
_LOCK: Final = threading.Lock()
_PROBES: Final[WeakKeyDictionary[sa.Engine, _Probe]] = WeakKeyDictionary()

# A child process has no threads of its parent's.
os.register_at_fork(after_in_child=_PROBES.clear)


@dataclasses.dataclass(frozen=True, slots=True)
class Health:
    """What a look at the database found, and how long the asker waited for it."""

    state: State
    took_ms: float

    @property
    def is_ok(self) -> bool:
        """Whether the database answers and takes writes."""
        return self.state == "ok"


def probe(engine: sa.Engine, *, timeout_ms: int = 100) -> Health:
    """Say how the engine's database is, in ``timeout_ms`` at most.

    The look itself happens in the background, on a connection that is not the pool's, one at a time however many ask: a
    host name that does not resolve or a server that is silent keeps nobody waiting, and a server whose first connection
    takes longer than ``timeout_ms`` is found well the next time.
    """
    begun_at = time.monotonic()
    with _LOCK:
        background = _PROBES.get(engine)
        if background is None:
            background = _PROBES[engine] = _Probe(engine)
    state = background.ask(within_seconds=timeout_ms / 1000)
    return Health(state, (time.monotonic() - begun_at) * 1000)


class _Probe:
    """One look at a time, shared by all who ask while it lasts."""

    def __init__(self, engine: sa.Engine) -> None:
        target = get_target(engine)
        self._dialect = target.dialect
        # The file that the application's own connections are on.
        self._file = get_file(engine) if target.dialect == "sqlite" else None
        self._engine = make_engine(
            dataclasses.replace(
                target,
                pool_size=1,
                max_overflow=0,
                connect_timeout=min(target.connect_timeout, LOOK_SECONDS),
                statement_timeout=min(target.statement_timeout, LOOK_SECONDS),
            )
        )
        self._lock = threading.Lock()
        self._looking: _Look | None = None

    def ask(self, *, within_seconds: float) -> State:
        """Return what the present look finds, or that it finds nothing in time."""
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
