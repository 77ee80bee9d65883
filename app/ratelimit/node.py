"""One Redis server: its idle connections, its circuit breaker, and the thread that looks after both."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final, NoReturn

from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from . import scripts
from .burst import Burst
from .decision import StoreAwayError
from .link import Link, LinkError, Reply, ReplyError, check_replies
from .opening import choose_pause, open_link, repeat_with_scripts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .decision import Values
    from .link import Connect
    from .plan import Charge

    # Carries a refused call elsewhere: payload, number of replies, deadline; None when it knows no better.
    Redirect = Callable[["Node", ReplyError, bytes, int, float], list[Reply] | None]

logger = logging.getLogger("app.ratelimit")

MAX_LINKS: Final = 256
LINKS_READY_MAX: Final = 16
IDLE_CHECK_SECONDS: Final = 1.0


class Node:
    """A Redis server that answers in time, or is not asked.

    The circuit breaker opens when a connection is refused or breaks, and on the third refusal within a second of a
    server that is reachable but of no use (loading, read-only, out of memory). While it is open, ``is_away`` is true
    and calls fail at once. A thread of its own, the keeper, opens connections and probes: no request pays for either.

    A silence is no proof: on a busy machine the server, or this process, was not running for a moment. It puts the
    server in doubt: calls fail at once, but for patient ones, which hear an answer that is late, and the keeper tries
    the server with more patience, which ends the doubt or opens the breaker. Only the kernel calls a server silent,
    never this process's own clock.
    """

    def __init__(
        self,
        name: str,
        connect: Connect,
        *,
        timeout_seconds: float,
        trial: bytes,
        on_change: Callable[[Node], None] = lambda _node: None,
        redirect: Redirect | None = None,
    ) -> None:
        """Keep connections that ``connect`` makes; a probe has succeeded when ``trial`` is answered without error.

        ``redirect`` is asked first what to do about a call that the server refused.
        """
        self.name = name
        self._connect = connect
        self._timeout_seconds = timeout_seconds
        self._opening_seconds = max(0.25, 4 * timeout_seconds)
        self.trial = trial
        self._on_change = on_change
        self._redirect = redirect
        self.changes_count = 0
        self.reset_after_fork()

    def __repr__(self) -> str:
        return f"<Node {self.name}{' away' if self.is_away else ''}>"

    def reset_after_fork(self) -> None:
        """Begin anew in a child process: connections, threads and locks are the parent's."""
        self.is_away = False
        self.away_reason = ""
        self._away_since = 0.0
        # On the monotonic clock: when the server may last have lost what it knew; infinitely long ago if never.
        self.reconnected_at = float("-inf")
        self._generation = 0
        self._idle: deque[Link] = deque()
        # Every link that is not closed; changed under the lock.
        self._links: set[Link] = set()
        self._lost_count = 0
        self._wanted_count = 0
        self._waiting_count = 0
        self._connecting_since: float | None = None
        self._soft_faults = Burst()
        self._is_doubted = False
        self._condition = threading.Condition(threading.Lock())
        self._keeper: threading.Thread | None = None
        self._is_closed = False

    # --- asking -------------------------------------------------------------------------------------------------------

    def decide(self, charges: Sequence[Charge]) -> Values:
        """Take every charge, or none of them.

        Raises:
            StoreAwayError: the server is away.
        """
        return scripts.read_values(self.call(scripts.pack_decide(charges), 1, now=time.monotonic())[0])

    def refund(self, charges: Sequence[Charge], stamps: Sequence[float]) -> None:
        """Give back what ``charges`` took under ``stamps``, one stamp for each limit.

        Raises:
            StoreAwayError: the server is away; what was taken stays taken.
        """
        self.call(scripts.pack_refund(charges, stamps), 1, now=time.monotonic())

    def call(
        self, payload: bytes, replies_count: int, *, now: float, is_late: bool = False, is_patient: bool = False
    ) -> list[Reply]:
        """Return the replies to ``payload`` within the budget that began at ``now`` (on the monotonic clock).

        A call that is late has spent part of it elsewhere already.

        Raises:
            StoreAwayError: the server is away, or answered that it can do nothing.
        """
        link = self.start(payload, now=now, is_late=is_late, is_patient=is_patient)
        return self.finish(link, payload, replies_count, now=now, is_patient=is_patient)

    def start(self, payload: bytes, *, now: float, is_late: bool = False, is_patient: bool = False) -> Link:
        """Send ``payload``; return the link that its replies will come by, for ``finish`` alone.

        Raises:
            StoreAwayError: the server is away.
        """
        link = self.take(now, is_patient=is_patient)
        if is_late:
            # What was spent elsewhere is no fault of this server's.
            link.limit_wait(max(now + self._timeout_seconds - time.monotonic(), self._timeout_seconds / 2))
        try:
            link.send(payload)
        except LinkError as error:
            self.fail(link, error)
        return link

    def finish(
        self, link: Link, payload: bytes, replies_count: int, *, now: float, is_patient: bool = False
    ) -> list[Reply]:
        """Return the replies to the ``payload`` that was sent by ``link``.

        Raises:
            StoreAwayError: the server is away, or answered that it can do nothing.
        """
        deadline = now + self._timeout_seconds
        try:
            replies = link.receive(replies_count, deadline)
        except LinkError as error:
            if not (is_patient and error.is_silence):
                self.fail(link, error)
            replies = self._hear_late(link, replies_count)
        for reply in replies:
            if isinstance(reply, ReplyError):
                return self._handle_errors(link, payload, replies, deadline)
        self.give_back(link)
        return replies

    def _hear_late(self, link: Link, replies_count: int) -> list[Reply]:
        """Return the replies of a server that was silent, if it speaks before the keeper gives it up.

        Raises:
            StoreAwayError: it does not.
        """
        self._doubt()
        link.limit_wait(self._opening_seconds)
        try:
            return link.receive(replies_count, time.monotonic() + self._opening_seconds)
        except LinkError as error:
            self.fail(link, error)

    def take(self, now: float, *, is_patient: bool = False) -> Link:
        """Return a link to use alone until it is given back or has failed.

        Raises:
            StoreAwayError: the server is away, or there is no link in time.
        """
        if self.is_away or (self._is_doubted and not is_patient):
            raise StoreAwayError(self.name)
        while True:
            try:
                link = self._idle.pop()
            except IndexError:
                return self._wait_for_link(now, is_patient=is_patient)
            # A server that restarted or has a timeout of its own closes idle connections: that is no outage.
            if now - link.used_at <= IDLE_CHECK_SECONDS or not link.is_dead():
                link.used_at = now
                return link
            self.reconnected_at = now
            self._drop(link)

    def give_back(self, link: Link) -> None:
        """Take ``link`` back for others to use."""
        if link.generation != self._generation:
            self._drop(link)
            return
        link.limit_wait(self._timeout_seconds)
        self._idle.append(link)
        if self._waiting_count:
            with self._condition:
                self._condition.notify()

    def fail(self, link: Link, error: LinkError) -> NoReturn:
        """Open the breaker because ``link`` broke, or doubt the server because it was silent.

        Raises:
            StoreAwayError: always.
        """
        self._drop(link)
        # A link from before the last opening tells nothing about the server of now.
        if link.generation == self._generation:
            if error.is_silence:
                self._doubt()
            else:
                self.trip(str(error))
        raise StoreAwayError(self.name) from error

    def _doubt(self) -> None:
        with self._condition:
            if not self.is_away:
                self._is_doubted = True
                self._wake_keeper()

    def _handle_errors(self, link: Link, payload: bytes, replies: list[Reply], deadline: float) -> list[Reply]:
        errors = [reply for reply in replies if isinstance(reply, ReplyError)]
        if all(error.code == "NOSCRIPT" for error in errors) and len(errors) == len(replies):
            # Nothing was carried out, so this is the one case that is safe to send again.
            try:
                replies, errors = repeat_with_scripts(link, payload, len(replies), deadline)
            except LinkError as error:
                self.fail(link, error)
        self.give_back(link)
        if not errors:
            return replies
        if self._redirect is not None and len(errors) == len(replies):
            redirected = self._redirect(self, errors[0], payload, len(replies), deadline)
            if redirected is not None:
                return redirected
        self.note_soft_fault(errors[0])
        raise StoreAwayError(self.name) from errors[0]

    def note_soft_fault(self, error: ReplyError) -> None:
        """Count an answer of a server that is reachable but of no use; the third within a second opens the breaker."""
        if self._soft_faults.add(time.monotonic()):
            self.trip(error.code)

    def _wait_for_link(self, now: float, *, is_patient: bool) -> Link:
        patience_seconds = self._opening_seconds if is_patient else self._timeout_seconds
        deadline = now + patience_seconds
        since = self._connecting_since
        if since is not None and since <= now - patience_seconds:
            # Whether that is the server's doing shows when it is over; until then nobody waits for it.
            raise StoreAwayError(self.name)
        with self._condition:
            self._waiting_count += 1
            self._wanted_count += 1
            self._wake_keeper()
            try:
                while not (self.is_away or (self._is_doubted and not is_patient)):
                    try:
                        link = self._idle.pop()
                    except IndexError:
                        left_seconds = deadline - time.monotonic()
                        if left_seconds <= 0:
                            break
                        self._condition.wait(left_seconds)
                        continue
                    link.used_at = now
                    left_seconds = now + self._timeout_seconds - time.monotonic()
                    link.limit_wait(max(left_seconds, self._timeout_seconds / 2))
                    return link
            finally:
                self._waiting_count -= 1
        raise StoreAwayError(self.name)

    def _drop(self, link: Link) -> None:
        with self._condition:
            self._links.discard(link)
        link.close()

    # --- the breaker --------------------------------------------------------------------------------------------------

    def trip(self, reason: str, *, is_silent: bool = False) -> None:
        """Open the breaker: from now on nobody asks this server until a probe of it has succeeded.

        When the server is silent, the threads that wait for its answers stop waiting.
        """
        with self._condition:
            if self.is_away or self._is_closed:
                return
            self.is_away = True
            self._is_doubted = False
            self.away_reason = reason
            self._away_since = time.monotonic()
            self._generation += 1
            self._wanted_count = 0
            dropped = list(self._idle)
            self._idle.clear()
            self._lost_count = len(self._links)
            self._links.difference_update(dropped)
            if is_silent:
                # Under the lock: a link in the set is not closed, so its number is not yet another connection's.
                for link in self._links:
                    link.interrupt()
            self._wake_keeper()
            self._condition.notify_all()
        for link in dropped:
            link.close()
        self.changes_count += 1
        logger.warning("rate limit store %s is away (%s); this process decides by itself", self.name, reason)
        self._on_change(self)

    def _recover(self, links: list[Link]) -> None:
        with self._condition:
            self._links.update(links)
            self._idle.extend(links)
            self._soft_faults.clear()
            self.reconnected_at = time.monotonic()
            self.is_away = False
            away_seconds = self.reconnected_at - self._away_since
        self.changes_count += 1
        logger.warning("rate limit store %s is back after %.1f s", self.name, away_seconds)
        self._on_change(self)

    # --- the keeper ---------------------------------------------------------------------------------------------------

    def close(self, *, is_waiting: bool = True) -> None:
        """Close every idle connection and end the keeper; a closed node is away for good."""
        with self._condition:
            self._is_closed = True
            self.is_away = True
            self._generation += 1
            dropped = list(self._idle)
            self._idle.clear()
            self._condition.notify_all()
            keeper = self._keeper
        for link in dropped:
            link.close()
        if is_waiting and keeper is not None and keeper is not threading.current_thread():
            keeper.join(timeout=2 * self._opening_seconds)

    def _wake_keeper(self) -> None:
        """Have the keeper running and looking; the lock is held."""
        if self._keeper is None or not self._keeper.is_alive():
            self._keeper = threading.Thread(target=self._keep, name=f"ratelimit-{self.name}", daemon=True)
            self._keeper.start()
        self._condition.notify_all()

    def _keep(self) -> None:
        probes_count = 0
        while True:
            with self._condition:
                while not (self._wanted_count or self.is_away or self._is_doubted or self._is_closed):
                    self._condition.wait()
                if self.is_away and not self._is_closed:
                    self._condition.wait_for(lambda: self._is_closed, choose_pause(probes_count))
            if self._is_closed:
                return
            if self.is_away:
                probes_count = 0 if self._probe() else probes_count + 1
            else:
                probes_count = 0
                self._open_wanted()

    def _probe(self) -> bool:
        links: list[Link] = []
        try:
            links.append(self._open_link())
            # As fast as a request will need it: a server that only answers slowly stays away.
            check_replies(links[0].exchange(self.trial, 1, time.monotonic() + self._timeout_seconds))
            # As many as there were before: the first requests after the return shall not wait for connections either.
            while len(links) < min(self._lost_count, LINKS_READY_MAX):
                links.append(self._open_link())
        except (RedisError, LinkError, OSError, ValueError) as error:
            self.away_reason = type(error).__name__
            for link in links:
                link.close()
            return False
        self._recover(links)
        return True

    def _open_wanted(self) -> None:
        with self._condition:
            generation = self._generation
            if len(self._links) >= MAX_LINKS and not self._is_doubted:
                self._wanted_count = 0
                return
            self._connecting_since = time.monotonic()
        try:
            link = self._open_link()
        except (RedisError, LinkError, OSError, ValueError) as error:
            self.trip(type(error).__name__, is_silent=isinstance(error, (RedisTimeoutError, LinkError)))
            return
        finally:
            self._connecting_since = None
        with self._condition:
            if generation == self._generation:
                # It has answered, with the scripts, a moment ago.
                self._is_doubted = False
                self._links.add(link)
                self._wanted_count = max(0, self._wanted_count - 1)
                self._idle.append(link)
                self._condition.notify_all()
                return
        link.close()

    def _open_link(self) -> Link:
        return open_link(
            self._connect,
            opening_seconds=self._opening_seconds,
            timeout_seconds=self._timeout_seconds,
            generation=self._generation,
        )
