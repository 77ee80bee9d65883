"""One client's connection: what has arrived, what is to be sent, and what it waits for."""

from __future__ import annotations

import contextlib
import enum
import socket
import struct
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .answer import Answer
    from .receiver import RequestReceiver

SILENCE_SECONDS: Final = 10.0
"""How long a new connection may send nothing."""

HEAD_SECONDS: Final = 10.0
"""How long the head of a request may take, from its first byte."""

REQUEST_SECONDS: Final = 30.0
"""How long a whole request may take, from its first byte."""

SEND_SECONDS: Final = 30.0
"""How long a client may take to read ``SEND_BYTES``."""

SEND_BYTES: Final = 64 * 1024

LINGER_SECONDS: Final = 1.0
"""How long a client may take to read the last answer and close its end."""


class State(enum.Enum):
    """What a connection waits for."""

    RECEIVING = enum.auto()  # its client, for a request
    WORKING = enum.auto()  # a working thread, which alone may touch it
    SENDING = enum.auto()  # its client, to read the answer
    CLOSING = enum.auto()  # its client, to close its end
    CLOSED = enum.auto()


class Outgoing:
    """A buffer of bytes for a client; gunicorn writes to it as to a socket, without ever waiting."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._pieces: list[bytes | memoryview] = []
        self.size = 0
        self.sent = 0
        self.is_broken = False

    def sendall(self, data: bytes) -> None:
        """Buffer ``data``."""
        self._pieces.append(data)
        self.size += len(data)

    def clear(self) -> None:
        """Drop what has not been sent."""
        self._pieces = []
        self.size = 0

    def flush(self) -> None:
        """Send as much as the client takes at this moment."""
        if not self.size:
            return
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.is_broken = True
            self.clear()
            return
        self.sent += sent
        self.size -= sent
        self._pieces = [memoryview(data)[sent:]] if self.size else []


class Connection:
    """A client's connection. It belongs to the polling thread, or to a working thread while it is ``WORKING``."""

    def __init__(self, sock: socket.socket, client: Any, server: Any, receiver: RequestReceiver) -> None:  # noqa: ANN401 - addresses of any family
        sock.settimeout(0)
        self.sock = sock
        self.client = client
        self.server = server
        self.receiver = receiver
        self.outgoing = Outgoing(sock)
        self.answer: Answer | None = None
        self.state = State.RECEIVING
        self.watched_for = 0
        self.buffered_bytes = 0
        self.waits_since = time.monotonic()
        self.deadline = self.waits_since + SILENCE_SECONDS
        self._sent_before = 0

    @property
    def ip(self) -> object:
        """The client's IP; on a Unix socket, the same for everybody."""
        return self.client[0] if isinstance(self.client, tuple) else self.client

    @property
    def is_idle(self) -> bool:
        """Whether no request has begun."""
        return self.state is State.RECEIVING and not self.receiver.size and not self.receiver.has_head

    def reset_on_close(self) -> None:
        """Have closing reset the connection, which tells its client that the answer is not whole.

        By HTTP/1.0, which proxies may speak, an answer of unknown length ends with its connection: one that is cut off
        would look whole.
        """
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def wait_for(self, state: State, seconds: float) -> None:
        """Wait for the client in ``state`` for up to ``seconds`` from now."""
        self.waits_since = time.monotonic()
        self.deadline = self.waits_since + seconds
        self._sent_before = self.outgoing.sent
        self.state = state

    def note_progress(self) -> None:
        """Give a client that keeps reading more time."""
        if self.outgoing.sent - self._sent_before >= SEND_BYTES:
            self._sent_before = self.outgoing.sent
            self.deadline = time.monotonic() + SEND_SECONDS
