"""Listening sockets: check that one can be opened, and close one without resetting clients who are connecting."""

import ctypes
import errno
import socket
import struct
import sys
from collections.abc import Iterable
from typing import Any, Final

SETTLE_SECONDS: Final = 0.3
"""How long a TCP handshake in progress may take to end: a generous round trip."""

_SO_ATTACH_FILTER: Final = 26  # <asm-generic/socket.h>; Python has no name for it

# Classic BPF over a TCP segment: load the flags (byte 13), keep SYN and ACK, drop the segment if only SYN is set.
_DROP_NEW_HANDSHAKES: Final = (
    (0x30, 0, 0, 13),  # ldb [13]
    (0x54, 0, 0, 0x12),  # and #0x12
    (0x15, 0, 1, 0x02),  # jeq #0x02, drop, keep
    (0x06, 0, 0, 0),  # drop: ret #0
    (0x06, 0, 0, 0xFFFFFFFF),  # keep: ret #-1
)


class CannotListen(Exception):
    """The server cannot listen there; the message is one line that names the setting to change."""


def check_can_listen(host: str, port: int) -> None:
    """Make sure that a server can listen on ``host``:``port`` at this moment.

    Raises:
        CannotListen: it cannot.
    """
    try:
        family, _, _, _, endpoint = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family) as probe:
            # As the server does: connections in TIME_WAIT do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(endpoint)
    except OSError as error:
        raise CannotListen(_explain(error, host, port)) from error


def _explain(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} of {host} is in use. Stop what listens there, or set PORT to another one."
    if error.errno == errno.EACCES:
        return f"This user may not listen on port {port}. Set PORT to 1024 or above."
    return f"{host} is not an address of this machine. Set HOST to one that is, such as 127.0.0.1."


def stop_handshakes(listeners: Iterable[Any]) -> bool:
    """Let no new connection begin on ``listeners``, in any process, and say whether that worked.

    Closing a listening socket resets the connections that the kernel has completed but nobody has accepted, and
    between the last ``accept`` and ``close`` there can always be one more. So the kernel is first told to ignore new
    SYN segments; their senders try again after a second and are then refused, as by any stopped server. Connections
    that are open, or whose handshake has begun, are untouched. Needs Linux and no privilege; elsewhere nothing changes,
    and a client that connects between ``accept`` and ``close`` is reset.
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
