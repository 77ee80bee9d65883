"""A Redis Cluster: a slot for each subject, a breaker for each master, and a thread that follows the topology."""

import binascii
import itertools
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

from redis import Redis
from redis.exceptions import RedisError

from app.ratelimit.plan import Charge
from app.ratelimit.store import StoreUnavailable
from app.ratelimit.subject import encode_subject

from .protocol import Reply, ReplyError, pack_command
from .server import RedisServer
from .storage_uri import HostPort, StorageUri
from .topology import ADMIN_TIMEOUT_SECONDS, make_client, make_probe

logger = logging.getLogger(__name__.partition(".redis")[0])

SLOTS_COUNT: Final = 16384
REFRESH_SECONDS: Final = 30.0
REFRESH_SECONDS_WHILE_AWAY: Final = 0.2
TRY_AGAIN_SECONDS: Final = 0.002
_ASKING: Final = pack_command(b"ASKING")

SlotRanges = list[tuple[int, int, "HostPort"]]


def find_slot(subject: str) -> int:
    """Return the slot of every key of ``subject``."""
    return binascii.crc_hqx(encode_subject(subject).encode(), 0) % SLOTS_COUNT


class ClusterTopology:
    """Asks the master of each subject's slot; a master that is away takes only its own subjects with it.

    The topology is read on a background thread: at the first decision, every ``REFRESH_SECONDS``, when a server
    redirects, and all the time while a master is away. A redirection is followed at once, within the same budget.
    """

    def __init__(self, uri: StorageUri, *, timeout_seconds: float, on_change: Callable[[RedisServer], None]) -> None:
        self._uri = uri
        self._timeout_seconds = timeout_seconds
        self._topology_timeout_seconds = max(0.25, 4 * timeout_seconds)
        self._on_change = on_change
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Begin anew in a child process."""
        self._servers: dict[HostPort, RedisServer] = {}
        self._slots: list[RedisServer | None] = [None] * SLOTS_COUNT
        self._condition = threading.Condition(threading.Lock())
        self._thread: threading.Thread | None = None
        self._is_refresh_wanted = False
        self._is_known = False
        self._has_failed = False
        self._is_closed = False

    @property
    def servers(self) -> Sequence[RedisServer]:
        """Every master known."""
        return tuple(self._servers.values())

    @property
    def is_degraded(self) -> bool:
        """Whether some subjects, or all, have no server to decide about them."""
        return self._has_failed or any(server.breaker.is_open for server in self.servers)

    def route(self, charges: Sequence[Charge]) -> list[tuple[RedisServer, Sequence[Charge]]]:
        """Return which master decides which of ``charges``: one call for each slot.

        Raises:
            StoreUnavailable: no master is known yet, or a slot has none.
        """
        if not self._is_known:
            self._wait_for_topology()
        if len(charges) == 1:
            return [(self._find_server(find_slot(charges[0].subject)), charges)]
        by_slot: dict[int, list[Charge]] = {}
        for charge in charges:
            by_slot.setdefault(find_slot(charge.subject), []).append(charge)
        return [(self._find_server(slot), together) for slot, together in by_slot.items()]

    def _find_server(self, slot: int) -> RedisServer:
        server = self._slots[slot]
        if server is None:
            self._want_refresh()
            raise StoreUnavailable(f"slot {slot}")
        return server

    def _redirect(
        self, server: RedisServer, error: ReplyError, payload: bytes, replies_count: int, deadline: float
    ) -> list[Reply] | None:
        """Follow the cluster's own word on where a call belongs; it was not carried out where it was refused."""
        if error.code not in {"MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN"}:
            return None
        self._want_refresh()
        if error.code == "CLUSTERDOWN":
            return None
        began = deadline - self._timeout_seconds
        if time.monotonic() > deadline:
            raise StoreUnavailable(server.name)
        if error.code == "TRYAGAIN":
            # A subject's keys are on the move one by one: neither server has them all for a moment.
            time.sleep(TRY_AGAIN_SECONDS)
            return server.call(payload, replies_count, now=began, is_late=True)
        slot_text, _, place = error.detail.partition(" ")
        host, _, port = place.rpartition(":")
        target = self._get_server((host or self._uri.hosts[0][0], int(port)))
        # Whoever asked the one is answered by the other, with the memory of the other.
        server.pool.reconnected_at = max(server.pool.reconnected_at, target.pool.reconnected_at)
        if error.code == "MOVED":
            self._slots[int(slot_text)] = target
            return target.call(payload, replies_count, now=began, is_late=True)
        if replies_count != 1:
            raise StoreUnavailable(server.name)
        return target.call(_ASKING + payload, 2, now=began, is_late=True)[1:]

    def _get_server(self, host_port: HostPort) -> RedisServer:
        with self._condition:
            server = self._servers.get(host_port)
            if server is None and not self._is_closed:
                server = self._servers[host_port] = RedisServer(
                    "{}:{}".format(*host_port),
                    partial(self._uri.make_connection, host_port),
                    timeout_seconds=self._timeout_seconds,
                    probe=make_probe(),
                    on_change=self._note_change,
                    redirect=self._redirect,
                )
                if self._is_known:
                    # A replica that was promoted may have lagged behind its master.
                    server.pool.reconnected_at = time.monotonic()
        if server is None:
            raise StoreUnavailable("closed")
        return server

    def _note_change(self, server: RedisServer) -> None:
        self._want_refresh()
        self._on_change(server)

    def _want_refresh(self) -> None:
        with self._condition:
            self._is_refresh_wanted = True
            self._wake_thread()

    def _wake_thread(self) -> None:
        if self._is_closed:
            return
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="ratelimit-topology", daemon=True)
            self._thread.start()
        self._condition.notify_all()

    def _wait_for_topology(self) -> None:
        deadline = time.monotonic() + self._timeout_seconds
        with self._condition:
            self._wake_thread()
            while not self._is_known:
                left_seconds = deadline - time.monotonic()
                if self._has_failed or left_seconds <= 0:
                    raise StoreUnavailable("topology")
                self._condition.wait(left_seconds)

    def _run(self) -> None:
        while True:
            is_done = self._refresh()
            with self._condition:
                self._is_refresh_wanted = self._is_refresh_wanted and not is_done
                is_calm = is_done and not any(server.breaker.is_open for server in self._servers.values())
                pause = REFRESH_SECONDS if is_calm else REFRESH_SECONDS_WHILE_AWAY
                until = time.monotonic() + pause * random.uniform(0.5, 1)  # noqa: S311 - jitter is no secret
                while not self._is_closed and (left_seconds := until - time.monotonic()) > 0:
                    if self._is_refresh_wanted and is_calm:
                        break
                    self._condition.wait(left_seconds)
                if self._is_closed:
                    return

    def _refresh(self) -> bool:
        """Read the topology from whoever tells it; say whether anybody did."""
        self._is_refresh_wanted = False
        known = sorted(self._servers.items(), key=lambda item: (item[1].breaker.is_open, random.random()))  # noqa: S311
        ranges = self._find_slots([*(host_port for host_port, _server in known), *self._uri.hosts])
        if ranges:
            self._apply(ranges)
            return True
        with self._condition:
            was_failed, self._has_failed = self._has_failed, True
            self._condition.notify_all()
        if not was_failed and not self._is_known:
            logger.warning("rate limit store: no node of the cluster answers; this process decides by itself")
        return False

    def _find_slots(self, host_ports: Sequence[HostPort]) -> SlotRanges:
        """Return the masters' slots, as the first of ``host_ports`` that knows them says; none if nobody does."""
        return next(filter(None, map(self._ask_for_slots, host_ports)), [])

    def _ask_for_slots(self, host_port: HostPort) -> SlotRanges:
        connection = self._uri.make_connection(host_port, self._topology_timeout_seconds)
        try:
            connection.connect()  # type: ignore[no-untyped-call] # redis-py's own
            connection.send_command("CLUSTER", "SLOTS")  # type: ignore[no-untyped-call] # likewise
            answer = connection.read_response()
        except (RedisError, OSError, ValueError):
            return []
        finally:
            connection.disconnect()  # type: ignore[no-untyped-call] # likewise
        ranges = []
        for first, last, primary, *_replicas in answer:
            host = primary[0].decode() if primary[0] else host_port[0]
            ranges.append((int(first), int(last), (host, int(primary[1]))))
        return ranges

    def _apply(self, ranges: SlotRanges) -> None:
        slots: list[RedisServer | None] = [None] * SLOTS_COUNT
        owned: dict[RedisServer, set[int]] = {}
        for first, last, host_port in ranges:
            server = self._get_server(host_port)
            slots[first : last + 1] = [server] * (last + 1 - first)
            owned.setdefault(server, set()).update(range(first, last + 1))
        for server, own_slots in owned.items():
            server.prober.probe = next(
                make_probe(subject)
                for subject in (f"probe:{number}" for number in itertools.count())
                if find_slot(subject) in own_slots
            )
        with self._condition:
            gone = [host_port for host_port, server in self._servers.items() if server not in owned]
            closed = [self._servers.pop(host_port) for host_port in gone]
            self._slots = slots
            was_known, self._is_known, self._has_failed = self._is_known, True, False
            self._condition.notify_all()
        for server in closed:
            server.close(is_waiting=False)
        if closed or not was_known:
            # Degraded may have ended by a failover alone, without any breaker that closed.
            self._on_change(next(iter(owned)))

    def clients(self) -> Iterator[Redis]:
        """Yield a client for each master."""
        ranges = self._find_slots(self._uri.hosts)
        if not ranges:
            raise RedisError("no node of the cluster answers")
        for host_port in sorted({master for _first, _last, master in ranges}):
            with make_client(self._uri, host_port) as client:
                yield client

    def close(self) -> None:
        """Close every connection."""
        with self._condition:
            self._is_closed = True
            self._condition.notify_all()
            thread = self._thread
        for server in self.servers:
            server.close()
        if thread is not None:
            thread.join(timeout=ADMIN_TIMEOUT_SECONDS)
