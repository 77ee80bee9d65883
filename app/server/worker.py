"""One process that serves: gunicorn's threaded worker, made safe against slow clients and gentle at the end."""

from __future__ import annotations

import contextvars
import json
import os
import selectors
import signal
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from gunicorn.http import errors
from gunicorn.util import close_graceful
from gunicorn.workers.gthread import TConn, ThreadWorker

from .reception import Reception, TimedUnreader

if TYPE_CHECKING:
    import socket
    from types import FrameType

RECEIVERS: Final = 64
"""Threads beyond the working ones, for requests that are still arriving."""

SILENCE_SECONDS: Final = 10.0
"""How long a new connection may say nothing."""

LINGER_SECONDS: Final = 1.0
"""How long a closed connection may take to read the last answer."""

_REFUSALS: Final[tuple[tuple[type[Exception], int, str], ...]] = (
    (errors.LimitRequestLine, 414, "URI Too Long"),
    (errors.LimitRequestHeaders, 431, "Request Header Fields Too Large"),
    (errors.UnsupportedTransferCoding, 501, "Not Implemented"),
    (errors.ExpectationFailed, 417, "Expectation Failed"),
    # A header that the application may not send is the application's fault.
    (errors.InvalidResponseHeader, 500, "Internal Server Error"),
    (errors.InvalidResponseHeaderName, 500, "Internal Server Error"),
    (errors.ParseException, 400, "Bad Request"),
)


class Connection(TConn):  # type: ignore[misc] # gunicorn ships no types
    """A client's connection, closed without holding up the others."""

    def __init__(self, worker: Worker, sock: socket.socket, client: Any, server: Any) -> None:  # noqa: ANN401 - addresses of any family
        super().__init__(worker.cfg, sock, client, server)
        self._worker = worker

    def close(self, graceful: bool = False) -> None:  # noqa: FBT001, FBT002 - gunicorn's signature
        """Close at once, or after the client has read the last answer."""
        if graceful:
            # gunicorn waits for the client here on the thread that accepts: one that never closes would stop them all.
            self._worker.tpool.submit(close_graceful, self.sock, LINGER_SECONDS)
        else:
            super().close()


class Worker(ThreadWorker):  # type: ignore[misc] # gunicorn ships no types
    """Accepts on one thread, receives on many, works on ``threads``."""

    wsgi: Reception
    sockets: list[Any]
    _is_deferring = False

    def get_thread_pool(self) -> ThreadPoolExecutor:
        """Return the threads that receive and work; ``Reception`` bounds the working ones."""
        return ThreadPoolExecutor(self.cfg.threads + RECEIVERS)

    def load_wsgi(self) -> None:
        """Build the application, in this process."""
        super().load_wsgi()
        self.wsgi = Reception(self.wsgi, threads=self.cfg.threads, max_body_bytes=self.app.max_body_bytes)

    # --- connections ---

    @property
    def worker_connections(self) -> int:
        """How many open connections still allow to accept another.

        gunicorn's worker accepts although all its threads are busy, and another worker is not. Here it leaves the rest
        to the others until a thread is free.
        """
        # Only once somebody is waiting: deaf for every busy moment would cost two system calls a request.
        self._is_deferring = self._is_deferring and self.wsgi.is_busy()
        return 0 if self._is_deferring else self._max_connections

    @worker_connections.setter
    def worker_connections(self, value: int) -> None:
        self._max_connections = value

    def accept(self, listener: socket.socket) -> bool:
        """Take one new connection in, if there is one; it gets a thread once it has something to say."""
        if self.alive and self.wsgi.is_busy():
            self._is_deferring = True
            return False
        try:
            sock, client = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return False
        except OSError as error:
            # Out of file descriptors, most likely. gunicorn would end the worker.
            self.log.warning("cannot accept a connection: %s", error)
            time.sleep(0.05)
            return False
        self.nr_conns += 1
        connection = Connection(self, sock, client, listener.getsockname())
        connection.timeout = time.monotonic() + SILENCE_SECONDS
        self.pending_conns.append(connection)
        self.poller.register(sock, selectors.EVENT_READ, partial(self.on_pending_socket_readable, connection))
        return True

    def handle(self, conn: Connection) -> Any:  # noqa: ANN401 - gunicorn's sentinel or a flag
        """Receive a request, answer it, and say whether the connection goes on."""
        conn.sock.settimeout(None)
        conn.init()
        if not isinstance(conn.parser.unreader, TimedUnreader):
            conn.parser.unreader = TimedUnreader(conn.sock)
        conn.parser.unreader.deadline = time.monotonic() + self.app.receive_seconds
        return super().handle(conn)

    def handle_error(self, req: object, client: socket.socket, addr: object, exc: Exception) -> None:
        """Answer a request that never reached the application with a problem (RFC 9457)."""
        del req, addr
        status, title = next(
            ((status, title) for kind, status, title in _REFUSALS if isinstance(exc, kind)),
            (500, "Internal Server Error"),
        )
        request_id = str(uuid.uuid4())
        if status == 500:
            self.log.error("request %s failed outside the application", request_id, exc_info=exc)
        else:
            # The text of the error repeats the client's bytes, its name does not.
            # The thread's context is that of the request before.
            contextvars.Context().run(self.log.info, "refused a request: %s", type(exc).__name__)
        body = json.dumps(
            {
                "type": "about:blank",
                "title": title,
                "status": status,
                "code": "internal_error" if status == 500 else "malformed_request",
                "request_id": request_id,
            }
        ).encode()
        head = (
            f"HTTP/1.1 {status} {title}\r\nConnection: close\r\nContent-Type: application/problem+json\r\n"
            f"Content-Length: {len(body)}\r\nX-Request-ID: {request_id}\r\nCache-Control: no-store\r\n"
            "X-Content-Type-Options: nosniff\r\n\r\n"
        )
        try:
            client.sendall(head.encode() + body)
        except OSError:
            self.log.debug("the client of request %s left", request_id)

    # --- the end ---

    def init_signals(self) -> None:
        """Leave Ctrl-C, which a terminal sends to every process, to the master."""
        super().init_signals()
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """Leave at once."""
        del sig, frame
        os._exit(0)  # sys.exit would wait for the threads

    def set_accept_enabled(self, enabled: bool) -> None:  # noqa: FBT001 - gunicorn's signature
        """Accept connections or not; at the end, take in what is waiting and close the door."""
        super().set_accept_enabled(enabled)
        if enabled or self.alive:
            return
        for listener in self.sockets:
            while self.accept(listener):
                pass
            listener.close()
        self.sockets = []

    def _cap_keepalive(self, deadline: float) -> None:
        """Wait no longer than ``deadline`` for clients that are silent."""
        super()._cap_keepalive(deadline)
        for connection in self.pending_conns:
            connection.timeout = min(connection.timeout, deadline)
