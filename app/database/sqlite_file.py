"""The file of an SQLite database: made for its owner alone, and watched in case somebody takes it away."""

import contextlib
import logging
import os
from pathlib import Path

from .faults import DatabaseFileGone, DatabaseUnavailable

logger = logging.getLogger(__name__)


class DatabaseFile:
    """A file that connections are open on.

    Deleted or replaced, it goes on taking writes of the connections that are open, which nobody reads again, and says
    nothing: SQLite leaves that to whoever runs it (https://www.sqlite.org/howtocorrupt.html, section 2.4).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # Device and inode, once there is a file: it may be taken away before the first connection is made.
        self._identity = self._find_identity()
        self._is_gone = False

    def open(self) -> None:
        """Make the file and its folders if this is their first use, readable by their owner only.

        Raises:
            DatabaseFileGone: it is not the file that earlier connections were made to.
            DatabaseUnavailable: it cannot be made.
        """
        if self._identity is not None:
            self.check()
            return
        try:
            self._make()
        except OSError as error:
            raise DatabaseUnavailable(f"The database's file cannot be made: {error.strerror}.") from error
        self._identity = self._find_identity()

    def _make(self) -> None:
        for folder in reversed([self.path.parent, *self.path.parent.parents]):
            if not folder.exists():
                folder.mkdir(mode=0o700, exist_ok=True)
        # Whatever the umask; SQLite gives the files beside it the same mode.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))

    def check(self, *_event: object) -> None:
        """Make sure that the file is still the one that connections were made to; it costs one system call.

        Raises:
            DatabaseFileGone: it was deleted, moved or replaced.
        """
        is_gone = self._identity is not None and self._find_identity() != self._identity
        if is_gone is not self._is_gone:
            self._is_gone = is_gone
            if is_gone:
                logger.error("the database's file was deleted, moved or replaced: put it back, or restart the server")
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
