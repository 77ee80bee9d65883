"""One connection to a Redis server, opened by redis-py and then spoken to directly.

redis-py connects, authenticates, selects the database and does TLS. The exchange itself is one write and one read:
redis-py's pool, retry and parser layers cost more than the decision, and its timeouts cover a read, not an exchange.
"""

import contextlib
import select
import socket
import ssl
import struct
import sys
import time
from collections.abc import Callable
from typing import Final

from redis.connection import Connection

from .protocol import ConnectionFailed, Reply, parse_replies

_READ_SIZE: Final = 65536
# A kernel timeout ends a read with EAGAIN.
_SILENCES: Final = (TimeoutError, BlockingIOError)
LAST_LOOK_SECONDS: Final = 0.001
HAS_KERNEL_TIMEOUTS: Final = sys.platform in {"linux", "darwin"}


# Makes an unopened connection, with a timeout in seconds, to the server, wherever it is by now; may block.
Connect = Callable[[float], Connection]


class RedisConnection:
    """An open connection: used by one thread at a time, and dropped after its first failure."""

    __slots__ = (
        "_connection",
        "_has_kernel_timeout",
        "_received",
        "_socket",
        "_timeout_seconds",
        "generation",
        "used_at",
    )

    def __init__(self, connection: Connection, *, timeout_seconds: float, generation: int = 0) -> None:
        """Open ``connection``; this may take as long as its own timeouts, so it belongs on a background thread.

        Raises:
            redis.exceptions.RedisError: it could not be opened.
        """
        connection.connect()  # type: ignore[no-untyped-call] # redis-py's own
        raw = connection._get_socket()  # noqa: SLF001 - see the module's docstring
        assert isinstance(raw, socket.socket)  # noqa: S101 - connect() either made one or raised
        self._connection = connection
        self._socket = raw
        # The beginning of replies whose rest was not there in time.
        self._received = b""
        self._timeout_seconds = 0.0
        # A kernel timeout saves the poll() before every read and write that Python's own timeouts cost.
        self._has_kernel_timeout = HAS_KERNEL_TIMEOUTS and not isinstance(raw, ssl.SSLSocket)
        if self._has_kernel_timeout:
            raw.settimeout(None)
        self._set_timeout(timeout_seconds)
        self.generation = generation
        self.used_at = time.monotonic()

    def exchange(self, payload: bytes, replies_count: int, deadline: float) -> list[Reply]:
        """Send packed commands and return their replies, before ``deadline`` (on the monotonic clock).

        Raises:
            ConnectionFailed: the connection is of no further use; whether the commands were carried out is unknown.
        """
        self.send(payload)
        return self.receive(replies_count, deadline)

    def send(self, payload: bytes) -> None:
        """Send packed commands.

        Raises:
            ConnectionFailed: the connection is of no further use.
        """
        try:
            self._socket.sendall(payload)
        except OSError as error:
            raise ConnectionFailed(type(error).__name__, is_silence=isinstance(error, _SILENCES)) from error

    def receive(self, replies_count: int, deadline: float) -> list[Reply]:
        """Return the replies to what was sent, before ``deadline`` (on the monotonic clock).

        Raises:
            ConnectionFailed: whether the commands were carried out is unknown. After a silence the rest may be asked
                for again; else the connection is of no further use.
        """
        data = self._received
        try:
            while more := self._socket.recv(_READ_SIZE):
                data += more
                replies = parse_replies(data, replies_count)
                if replies is not None:
                    self._received = b""
                    return replies
                # What has arrived meanwhile is read however late it is: the delay may well be this thread's own.
                self._set_timeout(max(deadline - time.monotonic(), LAST_LOOK_SECONDS))
        except ValueError:  # what should be a length is no number
            raise ConnectionFailed("the answer is not in Redis' protocol") from None
        except OSError as error:
            self._received = data
            raise ConnectionFailed(type(error).__name__, is_silence=isinstance(error, _SILENCES)) from error
        raise ConnectionFailed("the server closed the connection")

    def limit_wait(self, seconds: float) -> None:
        """Wait at most ``seconds`` for an answer from now on."""
        if abs(seconds - self._timeout_seconds) > 0.001:
            self._set_timeout(seconds)

    def is_dead(self) -> bool:
        """Whether the server has closed this idle connection, or sent what nobody asked for."""
        readable, _, _ = select.select([self._socket], [], [], 0)
        return bool(readable)

    def interrupt(self) -> None:
        """Wake the thread that waits for an answer; one that has arrived already is still read."""
        # Not SSLSocket's own method, which takes its state from under the thread that reads.
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection, whatever its state."""
        self._connection.disconnect()  # type: ignore[no-untyped-call] # redis-py's own

    def _set_timeout(self, seconds: float) -> None:
        self._timeout_seconds = seconds
        if self._has_kernel_timeout:
            micros = max(1, int(seconds * 1_000_000))
            value = struct.pack("ll", micros // 1_000_000, micros % 1_000_000)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)
        else:
            self._socket.settimeout(max(seconds, 0.000_001))
