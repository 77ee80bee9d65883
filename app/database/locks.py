"""A lock that processes share through their database, so that what must happen once happens once."""

import fcntl
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import sqlalchemy as sa

WAIT_SECONDS: Final = 300.0
_RETRY_SECONDS: Final = 0.1


class LockTimeout(RuntimeError):  # Flask-Migrate shows these without a traceback
    """Somebody else has held a lock for too long; the message says what to do."""


@contextmanager
def hold_lock(engine: sa.Engine, name: str, *, wait_seconds: float | None = None) -> Iterator[None]:
    """Let one process at a time into the block, on whichever machine it runs; one that dies lets go.

    Raises:
        LockTimeout: another process did not leave within ``wait_seconds`` (``WAIT_SECONDS`` unless given).
    """
    holders = {"sqlite": _hold_file, "postgresql": _hold_advisory, "mysql": _hold_named, "mariadb": _hold_named}
    with holders[engine.dialect.name](
        engine, f"gatehouse.{name}", WAIT_SECONDS if wait_seconds is None else wait_seconds
    ):
        yield


@contextmanager
def _hold_file(engine: sa.Engine, name: str, wait_seconds: float) -> Iterator[None]:
    database = engine.url.database
    if not database or database == ":memory:" or database.startswith("file:"):
        yield  # Nobody else can see it.
        return
    with Path(f"{database}.{name}.lock").open("w") as file:

        def take() -> bool:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        _wait(take, wait_seconds)
        yield  # Closing the file lets go.


@contextmanager
def _hold_advisory(engine: sa.Engine, name: str, wait_seconds: float) -> Iterator[None]:
    key = {"key": zlib.crc32(name.encode())}
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        _wait(lambda: bool(connection.scalar(sa.text("SELECT pg_try_advisory_lock(:key)"), key)), wait_seconds)
        try:
            yield
        finally:
            connection.execute(sa.text("SELECT pg_advisory_unlock(:key)"), key)


@contextmanager
def _hold_named(engine: sa.Engine, name: str, wait_seconds: float) -> Iterator[None]:
    # Names are the server's, not the database's, and 64 characters at most.
    key = {"key": f"{zlib.crc32((engine.url.database or '').encode())}.{name}"[:64]}
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        _wait(lambda: bool(connection.scalar(sa.text("SELECT GET_LOCK(:key, 0)"), key)), wait_seconds)
        try:
            yield
        finally:
            connection.execute(sa.text("SELECT RELEASE_LOCK(:key)"), key)


def _wait(take: Callable[[], bool], wait_seconds: float) -> None:
    deadline = time.monotonic() + wait_seconds
    while not take():
        if time.monotonic() > deadline:
            raise LockTimeout(
                f"Another process has been at it for more than {wait_seconds:.0f} s. See whether it still runs,"
                " then run this again."
            )
        time.sleep(_RETRY_SECONDS)
