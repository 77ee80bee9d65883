"""A Redis Cluster: a slot for each subject, a breaker for each master, and a thread that follows the topology."""

from __future__ import annotations

import binascii
import itertools
import logging
import random
import threading
import time
from typing import TYPE_CHECKING, Final

from redis.exceptions import RedisError

from .decision import StoreAwayError
from .link import Reply, ReplyError, pack_command
from .node import Node
from .subject import encode_subject
from .transport import ADMIN_TIMEOUT_SECONDS, make_client, make_trial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from redis import Redis
    from redis.connection import Connection

    from .plan import Charge
    from .storage_uri import Address, StorageUri

logger = logging.getLogger("app.ratelimit")

SLOTS_COUNT: Final = 16384
REFRESH_SECONDS: Final = 30.0
REFRESH_SECONDS_WHILE_AWAY: Final = 0.2
TRY_AGAIN_SECONDS: Final = 0.002
_ASKING: Final = pack_command(b"ASKING")

SlotRanges = list[tuple[int, int, "Address"]]


def find_slot(subject: str) -> int:
    """Return the slot of every key of ``subject``."""
    return binascii.crc_hqx(encode_subject(subject).encode(), 0) % SLOTS_COUNT


class ClusterTransport:
    """Asks the master of each subject's slot; a master that is away takes only its own subjects with it.

    The topology is read on a background thread: at the first decision, every ``REFRESH_SECONDS``, when a server
    redirects, and all the time while a master is away. A redirection is followed at once, within the same budget.
    """

    def __init__(self, uri: StorageUri, *, timeout_seconds: float, on_change: Callable[[Node], None]) -> None:
        self._uri = uri
        self._timeout_seconds = timeout_seconds
        self._topology_timeout_seconds = max(0.25, 4 * timeout_seconds)
        self._on_change = on_change
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Begin anew in a child process."""
        self._nodes: dict[Address, Node] = {}
        self._slots: list[Node | None] = [None] * SLOTS_COUNT
        self._condition = threading.Condition(threading.Lock())
        self._follower: threading.Thread | None = None
        self._is_refresh_wanted = False
        self._is_known = False
        self._has_failed = False
        self._is_closed = False

    @property
    def nodes(self) -> Sequence[Node]:
        """Every master known."""
        return tuple(self._nodes.values())

    @property
    def is_degraded(self) -> bool:
        """Whether some subjects, or all, have no server to decide about them."""
        return self._has_failed or any(node.is_away for node in self.nodes)

    # --- asking -------------------------------------------------------------------------------------------------------

    def route(self, charges: Sequence[Charge]) -> list[tuple[Node, Sequence[Charge]]]:
        """Return which master decides which of ``charges``: one call for each slot.

        Raises:
            StoreAwayError: no master is known yet, or a slot has none.
        """
        if not self._is_known:
            self._wait_for_topology()
        if len(charges) == 1:
            return [(self._find_node(find_slot(charges[0].subject)), charges)]
        by_slot: dict[int, list[Charge]] = {}
        for charge in charges:
            by_slot.setdefault(find_slot(charge.subject), []).append(charge)
        return [(self._find_node(slot), together) for slot, together in by_slot.items()]

    def _find_node(self, slot: int) -> Node:
        node = self._slots[slot]
        if node is None:
            self._want_refresh()
            raise StoreAwayError(f"slot {slot}")
        return node

    def _redirect(
        self, node: Node, error: ReplyError, payload: bytes, replies_count: int, deadline: float
    ) -> list[Reply] | None:
        """Follow the cluster's own word on where a call belongs; it was not carried out where it was refused."""
        if error.code not in {"MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN"}:
            return None
        self._want_refresh()
        if error.code == "CLUSTERDOWN":
            return None
        began = deadline - self._timeout_seconds
        if time.monotonic() > deadline:
            raise StoreAwayError(node.name)
        if error.code == "TRYAGAIN":
            # A subject's keys are on the move one by one: neither server has them all for a moment.
            time.sleep(TRY_AGAIN_SECONDS)
            return node.call(payload, replies_count, now=began, is_late=True)
        slot_text, _, place = error.detail.partition(" ")
        host, _, port = place.rpartition(":")
        target = self._get_node((host or self._uri.addresses[0][0], int(port)))
        if error.code == "MOVED":
            self._slots[int(slot_text)] = target
            return target.call(payload, replies_count, now=began, is_late=True)
        if replies_count != 1:
            raise StoreAwayError(node.name)
        return target.call(_ASKING + payload, 2, now=began, is_late=True)[1:]

    # --- the topology -------------------------------------------------------------------------------------------------

    def _get_node(self, address: Address) -> Node:
        with self._condition:
            node = self._nodes.get(address)
            if node is None and not self._is_closed:

                def connect(*, timeout_seconds: float) -> Connection:
                    return self._uri.make_connection(address, timeout_seconds=timeout_seconds)

                node = self._nodes[address] = Node(
                    "{}:{}".format(*address),
                    connect,
                    timeout_seconds=self._timeout_seconds,
                    trial=make_trial(),
                    on_change=self._note_change,
                    redirect=self._redirect,
                )
        if node is None:
            raise StoreAwayError("closed")
        return node

    def _note_change(self, node: Node) -> None:
        self._want_refresh()
        self._on_change(node)

    def _want_refresh(self) -> None:
        with self._condition:
            self._is_refresh_wanted = True
            self._wake_follower()

    def _wake_follower(self) -> None:
        if self._is_closed:
            return
        if self._follower is None or not self._follower.is_alive():
            self._follower = threading.Thread(target=self._follow, name="ratelimit-topology", daemon=True)
            self._follower.start()
        self._condition.notify_all()

    def _wait_for_topology(self) -> None:
        deadline = time.monotonic() + self._timeout_seconds
        with self._condition:
            self._wake_follower()
            while not self._is_known:
                left_seconds = deadline - time.monotonic()
                if self._has_failed or left_seconds <= 0:
                    raise StoreAwayError("topology")
                self._condition.wait(left_seconds)

    def _follow(self) -> None:
        while True:
            is_done = self._refresh()
            with self._condition:
                self._is_refresh_wanted = self._is_refresh_wanted and not is_done
                is_calm = is_done and not any(node.is_away for node in self._nodes.values())
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
        known = sorted(self._nodes.items(), key=lambda item: (item[1].is_away, random.random()))  # noqa: S311
        for address in itertools.chain((address for address, _node in known), self._uri.addresses):
            ranges = self._ask_topology(address)
            if ranges:
                self._apply(ranges)
                return True
        with self._condition:
            was_failed, self._has_failed = self._has_failed, True
            self._condition.notify_all()
        if not was_failed and not self._is_known:
            logger.warning("rate limit store: no node of the cluster answers; this process decides by itself")
        return False

    def _ask_topology(self, address: Address) -> SlotRanges:
        connection = self._uri.make_connection(address, timeout_seconds=self._topology_timeout_seconds)
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
            host = primary[0].decode() if primary[0] else address[0]
            ranges.append((int(first), int(last), (host, int(primary[1]))))
        return ranges

    def _apply(self, ranges: SlotRanges) -> None:
        slots: list[Node | None] = [None] * SLOTS_COUNT
        owned: dict[Node, set[int]] = {}
        for first, last, address in ranges:
            node = self._get_node(address)
            slots[first : last + 1] = [node] * (last + 1 - first)
            owned.setdefault(node, set()).update(range(first, last + 1))
        for node, own_slots in owned.items():
            node.trial = next(
                make_trial(subject)
                for subject in (f"probe:{number}" for number in itertools.count())
                if find_slot(subject) in own_slots
            )
        with self._condition:
            gone = [address for address, node in self._nodes.items() if node not in owned]
            closed = [self._nodes.pop(address) for address in gone]
            self._slots = slots
            was_known, self._is_known, self._has_failed = self._is_known, True, False
            self._condition.notify_all()
        for node in closed:
            node.close(is_waiting=False)
        if closed or not was_known:
            # Degraded may have ended by a failover alone, without any breaker that closed.
            self._on_change(next(iter(owned)))

    def clients(self) -> Iterator[Redis]:
        """Yield a client for each master."""
        for address in [*self._uri.addresses]:
            ranges = self._ask_topology(address)
            if ranges:
                break
        else:
            raise RedisError("no node of the cluster answers")
        for address in sorted({address for _first, _last, address in ranges}):
            with make_client(self._uri, address) as client:
                yield client

    def close(self) -> None:
        """Close every connection."""
        with self._condition:
            self._is_closed = True
            self._condition.notify_all()
            follower = self._follower
        for node in self.nodes:
            node.close()
        if follower is not None:
            follower.join(timeout=ADMIN_TIMEOUT_SECONDS)
