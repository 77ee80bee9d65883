"""Listening sockets: whether one can be had, and how one is closed without resetting anybody who is connecting."""

from __future__ import annotations

import ctypes
import errno
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


class AddressUnavailable(Exception):
    """Nothing can be served at an address; the message is one line that names the setting to change."""


def check_address(host: str, port: int) -> None:
    """Make sure that a server could listen on ``host``:``port`` at this moment.

    Raises:
        AddressUnavailable: it could not.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family) as probe:
            # As the server does: what lingers of connections that ended does not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise AddressUnavailable(_describe_refusal(error, host, port)) from error


def _describe_refusal(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} of {host} is in use. Stop what listens there, or set PORT to another one."
    if error.errno == errno.EACCES:
        return f"This user may not listen on port {port}. Set PORT to another one, from 1024 on."
    return f"{host} is no address of this machine. Set HOST to one of its own; 127.0.0.1 always is."


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
