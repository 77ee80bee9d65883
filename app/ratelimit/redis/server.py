"""One Redis server, which answers in time or is not asked."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, NoReturn

from app.ratelimit.store import StoreUnavailable

from .breaker import CircuitBreaker, Event
from .pool import ConnectionPool
from .prober import Prober
from .protocol import ConnectionFailed, ReplyError
from .scripts import LOAD_ALL, LOAD_ALL_COUNT, pack_decide, pack_merge, pack_refund, read_values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from app.ratelimit.plan import Charge
    from app.ratelimit.store import Values

    from .connection import Connect, RedisConnection
    from .protocol import Reply

    # Carries a refused call elsewhere: payload, number of replies, deadline; None when it knows no better.
    Redirect = Callable[["RedisServer", ReplyError, bytes, int, float], list[Reply] | None]

logger = logging.getLogger(__name__.partition(".redis")[0])

# What was sent, for ``finish`` alone: by which connection, how many replies it gets, when its budget began, and
# whether a late answer is waited for. No class, because every request makes one.
Call = tuple["RedisConnection", bytes, int, float, bool]


class RedisServer:
    """A ``Store``: a server by its connections, its circuit breaker, and the thread that looks after both.

    A request sends and receives over a connection of the pool. When the breaker does not admit it, or no connection is
    to be had within its budget, it fails at once. All three parts change under one lock; connecting, sending, receiving
    and closing happen outside of it.
    """

    def __init__(
        self,
        name: str,
        connect: Connect,
        *,
        timeout_seconds: float,
        probe: Charge,
        on_change: Callable[[RedisServer], None] = lambda _server: None,
        redirect: Redirect | None = None,
    ) -> None:
        """Keep connections that ``connect`` makes; it is back after an outage when it decides about ``probe``.

        ``redirect`` is asked first what to do about a call that the server refused.
        """
        self.name = name
        self._connect = connect
        self._timeout_seconds = timeout_seconds
        self._patience_seconds = max(0.25, 4 * timeout_seconds)
        self._probe = probe
        self._on_change = on_change
        self._redirect = redirect
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Begin anew in a child process: connections, threads and locks are the parent's."""
        self._condition = threading.Condition(threading.Lock())
        self._opened_at = 0.0
        self.breaker = CircuitBreaker()
        self.pool = ConnectionPool(self._condition, timeout_seconds=self._timeout_seconds)
        self.prober = Prober(
            self.name,
            self._connect,
            condition=self._condition,
            breaker=self.breaker,
            pool=self.pool,
            timeout_seconds=self._timeout_seconds,
            patience_seconds=self._patience_seconds,
            probe=self._probe,
            on_recovery=self._close_breaker,
            on_failure=self.open_breaker,
        )

    @property
    def reconnected_at(self) -> float:
        """When it may last have lost what it knew, as ``Store`` says."""
        return self.pool.reconnected_at

    def decide(self, charges: Sequence[Charge]) -> Values:
        """Take every charge, or none of them."""
        return self.receive(self.send(charges, now=time.monotonic()))

    def refund(self, charges: Sequence[Charge], stamps: Sequence[float]) -> None:
        """Give back what ``charges`` took under ``stamps``."""
        self.call(pack_refund(charges, stamps), 1, now=time.monotonic())

    def add(self, charge: Charge) -> None:
        """Count ``charge`` whatever its limits say."""
        self.call(pack_merge(charge, age_us=0), 1, now=time.monotonic())

    def send(
        self,
        charges: Sequence[Charge],
        earlier: Iterable[tuple[Charge, int]] = (),
        *,
        now: float,
        is_patient: bool = False,
    ) -> Call:
        """Ask for a decision about ``charges``, after those admitted ``earlier`` without this server.

        Each of these with when that was, on the monotonic clock in microseconds. The budget began at ``now``, on the
        same clock in seconds; who ``is_patient`` hears a late answer.

        Raises:
            StoreUnavailable: the server is away.
        """
        payload, replies_count = pack_decide(charges), 1
        if earlier:
            now_us = time.monotonic_ns() // 1000
            merges = [pack_merge(charge, age_us=now_us - at_us) for charge, at_us in earlier]
            payload, replies_count = b"".join([*merges, payload]), len(merges) + 1
        return self.start(payload, replies_count, now=now, is_patient=is_patient)

    def receive(self, call: Call) -> Values:
        """Return the decision that was asked for by ``call``.

        Raises:
            StoreUnavailable: there is none; whether the charges were taken is unknown.
        """
        return read_values(self.finish(call)[-1])

    def call(self, payload: bytes, replies_count: int, *, now: float, is_late: bool = False) -> list[Reply]:
        """Return the replies to ``payload`` within the budget that began at ``now`` (on the monotonic clock).

        A call that is late has spent part of it elsewhere already.

        Raises:
            StoreUnavailable: the server is away, or answered that it can do nothing.
        """
        return self.finish(self.start(payload, replies_count, now=now, is_late=is_late))

    def start(
        self, payload: bytes, replies_count: int, *, now: float, is_late: bool = False, is_patient: bool = False
    ) -> Call:
        """Send ``payload``, whose replies ``finish`` returns.

        Raises:
            StoreUnavailable: the server is away.
        """
        connection = self.take(now, is_patient=is_patient)
        if is_late:
            # What was spent elsewhere is no fault of this server's.
            connection.limit_wait(max(now + self._timeout_seconds - time.monotonic(), self._timeout_seconds / 2))
        try:
            connection.send(payload)
        except ConnectionFailed as error:
            self.fail(connection, error)
        return connection, payload, replies_count, now, is_patient

    def finish(self, call: Call) -> list[Reply]:
        """Return the replies to ``call``.

        Raises:
            StoreUnavailable: the server is away, or answered that it can do nothing.
        """
        connection, payload, replies_count, now, is_patient = call
        deadline = now + self._timeout_seconds
        try:
            replies = connection.receive(replies_count, deadline)
        except ConnectionFailed as error:
            if not (is_patient and error.is_silence):
                self.fail(connection, error)
            replies = self._receive_late(connection, replies_count)
        for reply in replies:
            if isinstance(reply, ReplyError):
                return self._handle_errors(connection, payload, replies, deadline)
        self.pool.give_back(connection)
        return replies

    def _receive_late(self, connection: RedisConnection, replies_count: int) -> list[Reply]:
        """Return the replies of a server that was silent, if it speaks before it is given up."""
        self._doubt()
        connection.limit_wait(self._patience_seconds)
        try:
            return connection.receive(replies_count, time.monotonic() + self._patience_seconds)
        except ConnectionFailed as error:
            self.fail(connection, error)

    def _handle_errors(
        self, connection: RedisConnection, payload: bytes, replies: list[Reply], deadline: float
    ) -> list[Reply]:
        errors = [reply for reply in replies if isinstance(reply, ReplyError)]
        if all(error.code == "NOSCRIPT" for error in errors) and len(errors) == len(replies):
            # Nothing was carried out, so this is the one case that is safe to send again.
            try:
                answers = connection.exchange(LOAD_ALL + payload, LOAD_ALL_COUNT + len(replies), deadline)
            except ConnectionFailed as error:
                self.fail(connection, error)
            errors = [reply for reply in answers if isinstance(reply, ReplyError)]
            replies = answers[LOAD_ALL_COUNT:]
        self.pool.give_back(connection)
        if not errors:
            return replies
        if self._redirect is not None and len(errors) == len(replies):
            redirected = self._redirect(self, errors[0], payload, len(replies), deadline)
            if redirected is not None:
                return redirected
        with self._condition:
            is_burst = self.breaker.count_refusal(time.monotonic())
        if is_burst:
            self.open_breaker(errors[0].code)
        raise StoreUnavailable(self.name) from errors[0]

    def take(self, now: float, *, is_patient: bool = False) -> RedisConnection:
        """Return a connection to use alone until it is given back to the pool or has failed.

        Raises:
            StoreUnavailable: the server is away, or there is no connection in time.
        """
        breaker = self.breaker
        if breaker.is_open or (breaker.is_doubted and not is_patient):
            raise StoreUnavailable(self.name)
        return self.pool.take(now) or self._wait_for_connection(now, is_patient=is_patient)

    def _wait_for_connection(self, now: float, *, is_patient: bool) -> RedisConnection:
        """Return a connection as soon as there is one, if that is in time."""
        patience_seconds = self._patience_seconds if is_patient else self._timeout_seconds
        since = self.prober.connecting_since
        if since is not None and since <= now - patience_seconds:
            # Whether that is the server's doing shows when it is over; until then nobody waits for it.
            raise StoreUnavailable(self.name)
        with self._condition:
            self.pool.wanted_count += 1
            self.prober.wake()
            connection = self.pool.wait(
                now + patience_seconds, is_worthwhile=lambda: self.breaker.admits(is_patient=is_patient)
            )
        if connection is None:
            raise StoreUnavailable(self.name)
        connection.used_at = now
        connection.limit_wait(max(now + self._timeout_seconds - time.monotonic(), self._timeout_seconds / 2))
        return connection

    def fail(self, connection: RedisConnection, error: ConnectionFailed) -> NoReturn:
        """Open the breaker because ``connection`` broke, or doubt the server because it was silent.

        Raises:
            StoreUnavailable: always.
        """
        self.pool.drop(connection)
        # A connection from before the breaker last opened tells nothing about the server of now.
        if connection.generation == self.pool.generation:
            if error.is_silence:
                self._doubt()
            else:
                self.open_breaker(str(error))
        raise StoreUnavailable(self.name) from error

    def _doubt(self) -> None:
        with self._condition:
            if not self.breaker.is_open:
                self.breaker.record(Event.SILENCE)
                self.prober.wake()

    def open_breaker(self, reason: str, *, is_silent: bool = False) -> None:
        """From now on ask this server nothing until a probe of it has succeeded.

        When it is silent, the threads that wait for its answers stop waiting.
        """
        with self._condition:
            if not self.breaker.record(Event.FAILURE):
                return
            self._opened_at = time.monotonic()
            dropped = self.pool.clear()
            if is_silent:
                self.pool.interrupt()
            self.prober.wake()
        for connection in dropped:
            connection.close()
        logger.warning("rate limit store %s is away (%s); this process decides by itself", self.name, reason)
        self._on_change(self)

    def _close_breaker(self, connections: list[RedisConnection]) -> None:
        with self._condition:
            is_back = self.breaker.record(Event.ANSWER)
            if is_back:
                self.pool.add(connections)
                self.pool.reconnected_at = time.monotonic()
        if not is_back:
            for connection in connections:
                connection.close()
            return
        logger.warning("rate limit store %s is back after %.1f s", self.name, time.monotonic() - self._opened_at)
        self._on_change(self)

    def close(self, *, is_waiting: bool = True) -> None:
        """Close every idle connection and end the maintenance thread; the server is of no further use."""
        with self._condition:
            self.breaker.record(Event.END)
            dropped = self.pool.clear()
        for connection in dropped:
            connection.close()
        if is_waiting:
            self.prober.join()
