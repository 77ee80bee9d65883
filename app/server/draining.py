"""Whether this server has been told to stop: one byte that the master writes and every worker reads."""

import mmap
from typing import Final

# Anonymous and shared: every process forked after this import, replacements included, sees the same byte.
_FLAG: Final = mmap.mmap(-1, 1)


def is_draining() -> bool:
    """Say whether this server has been told to stop; without a server, it never has."""
    return _FLAG[0] != 0


def set_draining(*, is_draining: bool) -> None:
    """Tell every process of this server whether it is about to stop."""
    _FLAG[0] = is_draining
