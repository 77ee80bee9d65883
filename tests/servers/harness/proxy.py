"""A TCP proxy that misbehaves on request."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

CHUNK_BYTES = 65536


@dataclasses.dataclass(frozen=True)
class Fault:
    """How the proxy misbehaves; the default is not at all.

    Attributes:
        is_silent: take connections and bytes, and never pass anything on.
        is_hanging: hold everything back until the fault is over, then pass it on.
        delay_seconds: wait that long before passing on each piece of a reply.
        bytes_per_piece: pass replies on in pieces of this many bytes, each delayed.
        is_first_piece_prompt: do not delay the first of them.
        cut_after_bytes: pass on so many bytes of the replies that follow, then close.
        is_cut_before_reply: pass on the next request and close instead of passing on its reply.
    """

    is_silent: bool = False
    is_hanging: bool = False
    delay_seconds: float = 0.0
    bytes_per_piece: int = CHUNK_BYTES
    is_first_piece_prompt: bool = False
    cut_after_bytes: int | None = None
    is_cut_before_reply: bool = False


NO_FAULT = Fault()


class Proxy:
    """Stands between the code under test and a server, on a loopback port of its own."""

    def __init__(self, upstream_port: int) -> None:
        self._upstream = ("127.0.0.1", upstream_port)
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self.fault = NO_FAULT
        self.sent = bytearray()  # what clients sent, in all
        self.accepted = 0
        self.round_trips_count = 0  # replies after something was sent
        self._replies_before_cut: int | None = None
        self.port = 0
        self.listen()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refuse()

    def listen(self) -> None:
        """Take connections, on the same port as before."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(128)
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def refuse(self) -> None:
        """Close the door and every connection."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        self.cut()

    def cut(self) -> None:
        """Close every connection that is open."""
        with self._lock:
            sockets, self._sockets = self._sockets, set()
        for open_socket in sockets:
            _close(open_socket)

    def cut_once(self, *, after_replies: int) -> None:
        """Pass so many more replies on, then close one connection instead of passing on the next."""
        self._replies_before_cut = after_replies

    @property
    def has_cut(self) -> bool:
        """Whether the connection that ``cut_once`` announced was closed."""
        return self._replies_before_cut is None

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with self._lock:
            self._sockets.add(client)
        try:
            upstream = socket.create_connection(self._upstream, 5)
        except OSError:
            _close(client)
            return
        upstream.settimeout(None)
        with self._lock:
            self._sockets.add(upstream)
        for each in (client, upstream):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        asked = threading.Event()
        threading.Thread(target=self._pump_replies, args=(upstream, client, asked), daemon=True).start()
        with contextlib.suppress(OSError):
            while data := client.recv(CHUNK_BYTES):
                self.sent += data
                self._wait_while_hanging()
                if not self.fault.is_silent:
                    asked.set()
                    upstream.sendall(data)
        self._drop(client, upstream)

    def _pump_replies(self, upstream: socket.socket, client: socket.socket, asked: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := upstream.recv(CHUNK_BYTES):
                self._wait_while_hanging()
                if asked.is_set():
                    asked.clear()
                    self.round_trips_count += 1
                if not self._pass_on(data, client):
                    break
        self._drop(client, upstream)

    def _pass_on(self, data: bytes, client: socket.socket) -> bool:
        if self._replies_before_cut is not None:
            self._replies_before_cut = self._replies_before_cut - 1 if self._replies_before_cut else None
            if self._replies_before_cut is None:
                return False
        is_first = True
        while data:
            fault = self.fault
            if fault.is_silent:
                return True
            if fault.is_cut_before_reply:
                return False
            piece, data = data[: fault.bytes_per_piece], data[fault.bytes_per_piece :]
            if fault.delay_seconds and not (is_first and fault.is_first_piece_prompt):
                time.sleep(fault.delay_seconds)
            is_first = False
            if fault.cut_after_bytes is not None:
                client.sendall(piece[: fault.cut_after_bytes])
                return False
            client.sendall(piece)
        return True

    def _wait_while_hanging(self) -> None:
        while self.fault.is_hanging and self._listener is not None:
            time.sleep(0.005)

    def _drop(self, *sockets: socket.socket) -> None:
        with self._lock:
            self._sockets.difference_update(sockets)
        for each in sockets:
            _close(each)


def _close(open_socket: socket.socket) -> None:
    with contextlib.suppress(OSError):
        open_socket.shutdown(socket.SHUT_RDWR)
    open_socket.close()
