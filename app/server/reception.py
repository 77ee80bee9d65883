"""Receive requests on cheap threads, so that slow clients occupy no working one."""

from __future__ import annotations

import io
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from gunicorn.http.errors import NoMoreData
from gunicorn.http.unreader import SocketUnreader

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable
    from wsgiref.types import InputStream, StartResponse, WSGIApplication, WSGIEnvironment

SEND_SECONDS: Final = 30.0
"""How long one piece of an answer may take to leave."""


class TimedUnreader(SocketUnreader):  # type: ignore[misc] # gunicorn ships no types
    """Reads from a client until ``deadline``, however steadily it dribbles."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.deadline = 0.0

    def chunk(self, size_hint: int | None = None) -> bytes:
        """Return the next piece.

        Raises:
            NoMoreData: the deadline has passed. gunicorn closes the connection without a word, as if the client had.
        """
        seconds = self.deadline - time.monotonic()
        if seconds <= 0:
            raise NoMoreData
        self.sock.settimeout(seconds)
        try:
            piece: bytes = super().chunk(size_hint)
        except TimeoutError:
            raise NoMoreData from None
        finally:
            self.sock.settimeout(SEND_SECONDS)
        return piece


class Reception:
    """A WSGI application that calls another with the whole body at hand, at most ``threads`` calls at once.

    The other never sees a body that was cut short or malformed: the first looks like an ended connection, the second is
    a 400. A body that is longer than ``max_body_bytes`` is left to the other to refuse.
    """

    def __init__(self, application: WSGIApplication, *, threads: int, max_body_bytes: int) -> None:
        self._application = application
        self._slots = threading.BoundedSemaphore(threads)
        self._max_body_bytes = max_body_bytes

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Receive the body, wait for a free slot, answer."""
        if environ.get("CONTENT_LENGTH") or "HTTP_TRANSFER_ENCODING" in environ:
            environ["wsgi.input"] = self._receive(environ)
        # A streamed answer leaves after this, outside the slot: a slow reader of a long one occupies none either.
        with self._slots:
            return self._application(environ, start_response)

    def is_busy(self) -> bool:
        """Say whether a request would have to wait for a slot."""
        if not self._slots.acquire(blocking=False):
            return True
        self._slots.release()
        return False

    def _receive(self, environ: dict[str, Any]) -> InputStream:
        stream: InputStream = environ["wsgi.input"]
        if "HTTP_TRANSFER_ENCODING" in environ:
            # One byte too many shows the application that the body is too long.
            return io.BytesIO(stream.read(self._max_body_bytes + 1))
        length = int(environ["CONTENT_LENGTH"])
        if length > self._max_body_bytes:
            return stream
        body = stream.read(length)
        if len(body) < length:
            raise NoMoreData
        return io.BytesIO(body)
