"""A TCP proxy on loopback that can hang, delay, cut, and count round trips."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType


class TcpProxy:
    """Passes bytes on to ``port``, as well as ``delay_seconds`` and ``is_hanging`` let it."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.delay_seconds = 0.0
        self.is_hanging = False
        # A round trip: bytes went to the server and then bytes came back.
        self.round_trips_count = 0
        self._is_closed = False
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def cut(self) -> None:
        """Break every connection that is open now."""
        for pair in list(self._pairs):
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Break everything and stop listening."""
        self._is_closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(timeout=5)

    def _accept(self) -> None:
        while not self._is_closed:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._pump, args=(near,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _pump(self, near: socket.socket) -> None:  # noqa: C901 - one loop, read top to bottom
        try:
            far = socket.create_connection(self._target)
        except OSError:
            near.close()
            return
        self._pairs.append((near, far))
        was_asked = False
        with near, far, selectors.DefaultSelector() as selector:
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(end, selectors.EVENT_READ)
            while not self._is_closed:
                for key, _ in selector.select(timeout=0.5):
                    source = key.fileobj
                    try:
                        data = source.recv(65536)  # type: ignore[union-attr] # registered as a socket
                        if not data:
                            return
                        while self.is_hanging and not self._is_closed:
                            time.sleep(0.005)
                        if self.delay_seconds:
                            time.sleep(self.delay_seconds)
                        (far if source is near else near).sendall(data)
                    except OSError:
                        return
                    if source is near:
                        was_asked = True
                    elif was_asked:
                        was_asked = False
                        self.round_trips_count += 1
