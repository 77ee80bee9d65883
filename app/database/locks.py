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
def hold_lock(engine: sa.Engine, name: str) -> Iterator[None]:
    """Let one process at a time into the block, on whichever machine it runs; one that dies lets go.

    Raises:
        LockTimeout: another process did not leave within ``WAIT_SECONDS``.
    """
    database, name = engine.url.database or "", f"gatehouse.{name}"
    if engine.dialect.name == "sqlite":
        held = _hold_file(Path(f"{database}.{name}.lock"))
    elif engine.dialect.name == "postgresql":
        key: int | str = zlib.crc32(name.encode())
        held = _hold_on_server(engine, "SELECT pg_try_advisory_lock(:key)", "SELECT pg_advisory_unlock(:key)", key)
    else:
        # Names are the server's, not the database's, and 64 characters at most.
        key = f"{zlib.crc32(database.encode())}.{name}"[:64]
        held = _hold_on_server(engine, "SELECT GET_LOCK(:key, 0)", "SELECT RELEASE_LOCK(:key)", key)
    with held:
        yield


@contextmanager
def _hold_file(path: Path) -> Iterator[None]:
    with path.open("w") as file:

        def take() -> bool:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        _wait(take)
        yield  # Closing the file lets go.


@contextmanager
def _hold_on_server(engine: sa.Engine, take: str, release: str, key: int | str) -> Iterator[None]:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        # What is done under the lock may need the only place that there is in the pool.
        connection.detach()
        _wait(lambda: bool(connection.scalar(sa.text(take), {"key": key})))
        try:
            yield
        finally:
            connection.execute(sa.text(release), {"key": key})


def _wait(take: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not take():
        if time.monotonic() > deadline:
            raise LockTimeout(
                f"Another process has been at it for more than {WAIT_SECONDS:.0f} s. See whether it still runs,"
                " then run this again."
            )
        time.sleep(_RETRY_SECONDS)
