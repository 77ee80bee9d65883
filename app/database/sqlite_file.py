"""The file of an SQLite database: made by a migration alone, and watched in case somebody takes it away."""

import contextlib
import logging
import os
import sqlite3
import stat
from pathlib import Path

from .faults import DatabaseFileGone, DatabaseUnavailable
from .url import DatabaseTarget

logger = logging.getLogger(__name__)


def make_database_file(target: DatabaseTarget) -> None:
    """Make the file of an SQLite database and its folders where there are none, readable by their owner only.

    Only what is about to make the tables does so: a server would answer from an empty file as if all were gone.

    Raises:
        DatabaseUnavailable: it cannot be made.
    """
    if target.dialect != "sqlite":
        return
    path = Path(target.database)
    try:
        for folder in reversed(path.parents):
            if not folder.exists():
                folder.mkdir(mode=0o700, exist_ok=True)
        # Whatever the umask; SQLite gives the files beside it the same mode.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as error:
        raise DatabaseUnavailable(f"The database's file cannot be made: {error.strerror}.") from error


class DatabaseFile:
    """A file that connections are open on.

    Deleted or replaced, it goes on taking writes of the connections that are open, which nobody reads again, and says
    nothing: SQLite leaves that to whoever runs it (https://www.sqlite.org/howtocorrupt.html, section 2.4).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._uri = f"{path.absolute().as_uri()}?mode=rw"
        # Device and inode, once there is a file: it may be taken away before the first connection is made.
        self._identity = self._find_identity()
        self._is_gone = False

    def connect(self) -> sqlite3.Connection:
        """Return a new connection. Left to itself SQLite would make an empty file where there is none.

        Raises:
            DatabaseFileGone: there is no file, or not the one that earlier connections were made to.
            sqlite3.OperationalError: it cannot be opened.
        """
        self.check()
        self._align_log()
        return sqlite3.connect(self._uri, uri=True, check_same_thread=False)

    def _align_log(self) -> None:
        """Let the files beside it be written to again, which SQLite made while it could only be read itself."""
        with contextlib.suppress(OSError):
            mode = stat.S_IMODE(self.path.stat().st_mode)
            for path in (Path(f"{self.path}-wal"), Path(f"{self.path}-shm")):
                if mode & stat.S_IWUSR and path.exists() and stat.S_IMODE(path.stat().st_mode) != mode:
                    path.chmod(mode)

    def check(self, *_event: object) -> None:
        """Make sure that the file is still the one that connections were made to; it costs one system call.

        Raises:
            DatabaseFileGone: it was deleted, moved or replaced, or never made.
        """
        found = self._find_identity()
        if self._identity is None:
            self._identity = found
        is_gone = found is None or found != self._identity
        if is_gone is not self._is_gone:
            self._is_gone = is_gone
            if is_gone:
                logger.error(
                    "the database's file was deleted, moved or replaced, or never made: put it back, or run setup and"
                    " restart the server"
                )
            else:
                logger.warning("the database's file is back")
        if is_gone:
            raise DatabaseFileGone

    @property
    def is_writable(self) -> bool:
        """Whether this process may write to it, and to its folder, where SQLite keeps its log."""
        return os.access(self.path, os.W_OK) and os.access(self.path.parent, os.W_OK)

    def _find_identity(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self.path)  # noqa: PTH116 - Path's own costs twice as much, on the path of every request
        except OSError:
            return None
        return found.st_dev, found.st_ino
