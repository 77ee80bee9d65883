"""Whether this server has been told to stop: one byte that the master writes and every worker reads."""

from __future__ import annotations

import mmap
from typing import Final

# Anonymous and shared: the processes forked after this import see one and the same byte, those replaced later too.
_FLAG: Final = mmap.mmap(-1, 1)


def is_draining() -> bool:
    """Say whether this server has been told to stop; without a server, it never has."""
    return _FLAG[0] != 0


def set_draining(*, is_draining: bool) -> None:
    """Tell every process of this server that it is about to stop, or not."""
    _FLAG[0] = is_draining
