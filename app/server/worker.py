"""A worker process: one thread polls all connections, ``threads`` others call the application.

No connection holds a thread while it waits for its client. Connections are bounded in number, bytes and time.
"""

import collections
import contextlib
import logging
import os
import queue
import selectors
import signal
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from types import FrameType
from typing import Any, Final

from gunicorn.http.errors import ParseException
from gunicorn.workers import base

from .answer import Answer
from .connection import HEAD_SECONDS, LINGER_SECONDS, REQUEST_SECONDS, SEND_SECONDS, Connection, State
from .receiver import RequestReceiver
from .refusals import refuse

READ_BYTES: Final = 16 * 1024

MAX_BUFFERED_BYTES: Final = 64 * 1024 * 1024
"""How much all connections of a worker may buffer together, of requests arriving and answers leaving."""

FAIR_CONNECTIONS: Final = 32
"""How many connections a client IP may have before its connections are the first to be closed to make room."""

ACCEPT_PAUSE_SECONDS: Final = 0.05
"""How long a worker whose threads are all busy leaves new connections to the other workers."""

MAX_ACCEPTS: Final = 256
"""How many connections are accepted at once."""

SWEEP_SECONDS: Final = 0.5
DRAIN_IDLE_SECONDS: Final = 2.0
"""How long a stopping worker waits for requests on idle connections."""

logger = logging.getLogger(__name__)


class Worker(base.Worker):  # type: ignore[misc] # gunicorn ships no types
    """Does all I/O on one thread, and calls the application on ``threads`` others."""

    sockets: list[Any]
    wsgi: Any

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401 - gunicorn ships no types
        super().__init__(*arguments)
        self._max_connections: int = self.cfg.worker_connections
        self._connections: set[Connection] = set()
        self._connections_by_ip: collections.Counter[object] = collections.Counter()
        self._buffered_bytes = 0
        self._jobs: queue.SimpleQueue[Connection] = queue.SimpleQueue()
        # Bounded, so that answers are not made faster than the loop counts their bytes.
        self._returned: queue.Queue[Connection] = queue.Queue(2 * self.cfg.threads)
        # Guards handing a connection from one thread to another, and the count of requests in progress.
        self._lock = threading.Lock()
        self._in_progress = 0
        self._finished = self._finished_before = 0
        self._is_accepting = False
        self._paused_until = 0.0
        self._accept_count = 1
        self._swept_at = 0.0
        self._idle_until = float("inf")

    # --- the loop ---

    def run(self) -> None:
        """Serve until told to stop; then accept the connections that wait, and let requests end."""
        self._poller = selectors.DefaultSelector()
        self._poller.register(self.PIPE[0], selectors.EVENT_READ, self._on_wake)
        for listener in self.sockets:
            listener.settimeout(0)
        for number in range(self.cfg.threads):
            threading.Thread(target=self._work, name=f"worker-{number}", daemon=True).start()
        while self.alive and self.ppid == os.getppid():
            self._run_once(timeout=1.0)
        self._drain()

    def _run_once(self, *, timeout: float) -> None:
        if not self._is_accepting:
            timeout = self._resume_accepting(timeout)
        events = self._poller.select(timeout)
        # Accepting one at a time shares connections fairly among idle workers, but is too slow for a busy loop.
        self._accept_count = 1 + len(events) // 8
        for key, _ in events:
            key.data()
        now = time.monotonic()
        if now - self._swept_at >= SWEEP_SECONDS:
            self._swept_at = now
            self.notify()
            self._sweep(now)

    def _drain(self) -> None:
        if self._is_accepting:
            self._set_accepting(is_accepting=False)
        for listener in self.sockets:
            while self._accept(listener):
                pass
            listener.close()
        self.sockets = []
        now = time.monotonic()
        self._idle_until = now + DRAIN_IDLE_SECONDS
        until = now + self.cfg.graceful_timeout
        while self._connections and time.monotonic() < until:
            self._run_once(timeout=0.1)

    def _on_wake(self) -> None:
        os.read(self.PIPE[0], 4096)
        while not self._returned.empty():
            connection = self._returned.get_nowait()
            with self._closing_on_error(connection):
                self._proceed(connection)

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # full: the loop will wake
            os.write(self.PIPE[1], b"\0")

    def _sweep(self, now: float) -> None:
        """Close connections whose clients took too long, and count the buffered bytes anew."""
        for connection in list(self._connections):
            # Read the state first: a working thread sets the deadline before it releases the connection.
            if connection.state in {State.WORKING, State.CLOSED}:
                continue
            deadline = min(connection.deadline, self._idle_until) if connection.is_idle else connection.deadline
            with self._closing_on_error(connection):
                if deadline > now:
                    self._count_bytes(connection)
                elif connection.state is State.RECEIVING and not connection.is_idle:
                    self._refuse(connection, TimeoutError())
                else:
                    self._close(connection)

    # --- accepting ---

    def _set_accepting(self, *, is_accepting: bool) -> None:
        for listener in self.sockets:
            if is_accepting:
                self._poller.register(listener, selectors.EVENT_READ, partial(self._on_acceptable, listener))
            else:
                self._poller.unregister(listener)
        self._is_accepting = is_accepting

    def _on_acceptable(self, listener: Any) -> None:  # noqa: ANN401 - gunicorn ships no types
        """Accept what waits on ``listener``; with all threads busy, leave it to other workers for a moment."""
        # Checked only when somebody connects: pausing in every busy moment would cost two system calls a request.
        if self.cfg.workers > 1 and self._in_progress >= self.cfg.threads:
            self._begin_pause()
            self._set_accepting(is_accepting=False)
        else:
            self._accept_some(listener, self._accept_count)

    def _begin_pause(self) -> None:
        self._paused_until = time.monotonic() + ACCEPT_PAUSE_SECONDS
        self._finished_before = self._finished

    def _resume_accepting(self, timeout: float) -> float:
        """Accept again once a thread is free, or no other worker took the connections; return how long to poll."""
        if self._in_progress >= self.cfg.threads:
            seconds = self._paused_until - time.monotonic()
            if seconds > 0:
                return min(seconds, timeout)
            if self._finished == self._finished_before:
                # All threads hang: a new client would not be served here.
                self._begin_pause()
                return min(ACCEPT_PAUSE_SECONDS, timeout)
            for listener in self.sockets:
                self._accept_some(listener, MAX_ACCEPTS)
        self._set_accepting(is_accepting=True)
        return timeout

    def _accept_some(self, listener: Any, count: int) -> None:  # noqa: ANN401 - gunicorn ships no types
        for _ in range(min(count, MAX_ACCEPTS)):
            if not self._accept(listener):
                return

    def _accept(self, listener: Any) -> bool:  # noqa: ANN401 - gunicorn ships no types
        """Accept one connection and say whether there was one."""
        if len(self._connections) >= self._max_connections:
            self._shed()
        try:
            sock, client = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return False
        except OSError as error:
            logger.warning("cannot accept a connection: %s", error)
            if not self._shed():
                time.sleep(0.05)  # out of file descriptors, and none of them is a client's
            return False
        receiver = RequestReceiver(self.cfg, client, max_body_bytes=self.app.max_body_bytes)
        connection = Connection(sock, client, listener.getsockname(), receiver)
        self._connections.add(connection)
        self._connections_by_ip[connection.ip] += 1
        self._watch(connection, selectors.EVENT_READ)
        return True

    def _shed(self, *, for_bytes: bool = False) -> bool:
        """Close some connections that wait for their clients: of the IPs with the most, the oldest first.

        Say whether there were any.
        """

        def rank(connection: Connection) -> tuple[int, int, float]:
            surplus = max(self._connections_by_ip[connection.ip] - FAIR_CONNECTIONS, 0)
            return -surplus, -connection.buffered_bytes if for_bytes else 0, connection.waits_since

        expendable = [
            connection
            for connection in self._connections
            if connection.state is not State.WORKING and (connection.buffered_bytes or not for_bytes)
        ]
        # Several at once, because looking through all of them takes milliseconds.
        count = max(1, len(expendable) // 32)
        for connection in sorted(expendable, key=rank)[:count]:
            self._close(connection)
        return bool(expendable)

    # --- a connection ---

    def _watch(self, connection: Connection, events: int) -> None:
        if connection.watched_for == events:
            return
        if connection.watched_for:
            self._poller.modify(connection.sock, events, partial(self._on_ready, connection))
        else:
            self._poller.register(connection.sock, events, partial(self._on_ready, connection))
        connection.watched_for = events

    def _unwatch(self, connection: Connection) -> None:
        if connection.watched_for:
            self._poller.unregister(connection.sock)
            connection.watched_for = 0

    def _on_ready(self, connection: Connection) -> None:
        with self._lock:
            if connection.state is State.WORKING:
                # Its client sent more, or left: the kernel keeps that until the answer is made.
                self._unwatch(connection)
                return
        with self._closing_on_error(connection):
            if connection.state is State.RECEIVING:
                self._receive(connection)
            elif connection.state is State.SENDING:
                connection.outgoing.flush()
                connection.note_progress()
                self._proceed(connection)
            elif connection.state is State.CLOSING and not connection.sock.recv(READ_BYTES):
                self._close(connection)

    @contextlib.contextmanager
    def _closing_on_error(self, connection: Connection) -> Iterator[None]:
        """Close ``connection`` on any error, so that the loop goes on to serve the others."""
        try:
            yield
        except OSError:
            self._close(connection)
        except Exception:
            logger.exception("a connection failed")
            self._close(connection)

    def _receive(self, connection: Connection) -> None:
        data = connection.sock.recv(READ_BYTES)
        if not data:
            self._close(connection)
            return
        if connection.is_idle:
            connection.wait_for(State.RECEIVING, HEAD_SECONDS)
        connection.receiver.feed(data)
        self._look_for_request(connection)

    def _look_for_request(self, connection: Connection) -> None:
        try:
            request = connection.receiver.take_request()
        except ParseException as error:
            self._refuse(connection, error)
            return
        if request is not None:
            connection.answer = Answer(self.wsgi, self.cfg, request, connection)
            self._enqueue(connection)
            return
        if connection.receiver.has_head:
            connection.deadline = connection.waits_since + REQUEST_SECONDS
        if connection.receiver.take_expectation():
            connection.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._watch(connection, selectors.EVENT_READ)
        self._count_bytes(connection)

    def _count_bytes(self, connection: Connection) -> None:
        buffered_bytes = connection.receiver.size + connection.outgoing.size
        self._buffered_bytes += buffered_bytes - connection.buffered_bytes
        connection.buffered_bytes = buffered_bytes
        while self._buffered_bytes > MAX_BUFFERED_BYTES and self._shed(for_bytes=True):
            pass

    def _refuse(self, connection: Connection, error: BaseException) -> None:
        connection.answer = None
        connection.outgoing.sendall(refuse(error))
        connection.outgoing.flush()
        self._proceed(connection)

    def _proceed(self, connection: Connection) -> None:
        """Do what comes next for a connection whose answer is made, in part or whole."""
        answer = connection.answer
        if connection.state is State.CLOSED:
            return
        if connection.outgoing.is_broken or (answer is not None and answer.is_cut):
            self._close(connection)
        elif connection.outgoing.size:
            if connection.state is not State.SENDING:
                connection.wait_for(State.SENDING, SEND_SECONDS)
            self._watch(connection, selectors.EVENT_WRITE)
            self._count_bytes(connection)
        elif answer is not None and not answer.is_finished:
            self._unwatch(connection)
            self._enqueue(connection)
        elif answer is not None and answer.keeps_alive:
            connection.answer = None
            connection.wait_for(State.RECEIVING, self.cfg.keepalive)
            self._watch(connection, selectors.EVENT_READ)
            if connection.receiver.size:
                connection.wait_for(State.RECEIVING, HEAD_SECONDS)
                self._look_for_request(connection)
        else:
            connection.sock.shutdown(socket.SHUT_WR)
            connection.wait_for(State.CLOSING, LINGER_SECONDS)
            self._watch(connection, selectors.EVENT_READ)

    def _close(self, connection: Connection) -> None:
        if connection.state is State.CLOSED:
            return
        self._unwatch(connection)
        connection.sock.close()
        connection.state = State.CLOSED
        self._connections.discard(connection)
        self._connections_by_ip[connection.ip] -= 1
        if not self._connections_by_ip[connection.ip]:
            del self._connections_by_ip[connection.ip]
        self._buffered_bytes -= connection.buffered_bytes
        if connection.answer is not None and not connection.answer.is_finished:
            self._enqueue(connection)

    # --- working threads ---

    def _enqueue(self, connection: Connection) -> None:
        """Give a connection to the next free working thread, to make its answer or to clean up after a closed one."""
        if connection.state is not State.CLOSED:
            connection.state = State.WORKING
        with self._lock:
            self._in_progress += 1
        self._jobs.put(connection)

    def _work(self) -> None:
        while True:
            connection = self._jobs.get()
            answer = connection.answer
            assert answer is not None  # noqa: S101 - a queued connection has one
            if connection.state is State.CLOSED:
                answer.abandon()
            else:
                answer.advance()
            self._release(connection, answer)

    def _release(self, connection: Connection, answer: Answer) -> None:
        """Release a connection: once it is done, to its client without waking the loop; otherwise to the loop."""
        is_done = answer.keeps_alive and not connection.outgoing.size and not connection.receiver.size
        with self._lock:
            self._in_progress -= 1
            self._finished += 1
            is_done = is_done and connection.watched_for == selectors.EVENT_READ
            if is_done:
                connection.answer = None
                connection.wait_for(State.RECEIVING, self.cfg.keepalive)
        if not is_done:
            self._returned.put(connection)
        if not is_done or not self._is_accepting:
            self._wake()

    # --- signals ---

    def init_signals(self) -> None:
        """Leave Ctrl-C, which a terminal sends to every process, to the master."""
        super().init_signals()
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """Exit at once."""
        del sig, frame
        os._exit(0)  # sys.exit would run the exit handlers
