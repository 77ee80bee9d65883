"""Close a listening socket without resetting anybody who is just connecting."""

from __future__ import annotations

import ctypes
import socket
import struct
import sys
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

SETTLE_SECONDS: Final = 0.3
"""How long a handshake that has begun may take to end: a round trip, generously."""

_SO_ATTACH_FILTER: Final = 26  # <asm-generic/socket.h>; Python has no name for it

# Classic BPF over a TCP segment: load the flags (byte 13), keep SYN and ACK, drop the segment if only SYN is set.
_DROP_NEW_HANDSHAKES: Final = (
    (0x30, 0, 0, 13),  # ldb [13]
    (0x54, 0, 0, 0x12),  # and #0x12
    (0x15, 0, 1, 0x02),  # jeq #0x02, drop, keep
    (0x06, 0, 0, 0),  # drop: ret #0
    (0x06, 0, 0, 0xFFFFFFFF),  # keep: ret #-1
)


class _Listener(Protocol):
    def setsockopt(self, level: int, option: int, value: bytes, /) -> None: ...


def stop_handshakes(listeners: Iterable[_Listener]) -> bool:
    """Let no new connection begin on ``listeners``, in whatever process, and say whether that worked.

    Closing a listening socket resets the connections that the kernel completed and nobody accepted yet, and between
    the last ``accept`` and ``close`` there can always be one more. Here the kernel ignores new SYN segments first;
    their senders try again after a second and are then refused, as by any server that has stopped. Connections that
    are open, or whose handshake has begun, are untouched. Needs Linux, and no privilege; elsewhere nothing is changed,
    and the unlucky moment is as short as the way from ``accept`` to ``close``.
    """
    if sys.platform != "linux":
        return False
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in _DROP_NEW_HANDSHAKES)
    buffer = ctypes.create_string_buffer(code, len(code))
    # struct sock_fprog: a count and an aligned pointer.
    program = struct.pack("@HP", len(_DROP_NEW_HANDSHAKES), ctypes.addressof(buffer))
    try:
        for listener in listeners:
            listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    except OSError:
        return False
    return True
