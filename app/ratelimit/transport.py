"""The ways to a store: which server is asked about which subject."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from redis import Redis
from redis.connection import ConnectionPool
from redis.exceptions import RedisError
from redis.sentinel import Sentinel

from . import scripts
from .node import Node
from .plan import Charge, Plan, make_limit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from redis.connection import Connection

    from .storage_uri import Address, StorageUri

ADMIN_TIMEOUT_SECONDS = 5.0


class Transport(Protocol):
    """Knows the servers, and which of them has which subject."""

    @property
    def nodes(self) -> Sequence[Node]:
        """Every server known."""

    @property
    def is_degraded(self) -> bool:
        """Whether some subjects, or all, have no server to decide about them."""

    def route(self, charges: Sequence[Charge]) -> list[tuple[Node, Sequence[Charge]]]:
        """Return which server decides which of ``charges``; what stands together is decided by one call.

        Raises:
            StoreAwayError: no server is known yet.
        """

    def clients(self) -> Iterator[Redis]:
        """Yield a client of redis-py for each server that holds counters: for an operator's questions, not requests.

        Raises:
            redis.exceptions.RedisError: the store is away.
        """

    def reset_after_fork(self) -> None:
        """Begin anew in a child process."""

    def close(self) -> None:
        """Close every connection."""


def make_trial(subject: str = "probe") -> bytes:
    """Return a decision that changes nothing of anybody's and shows that the server can take decisions."""
    return scripts.pack_decide([Charge(Plan([make_limit(120, seconds=1, scope="probe")]), subject)])


def make_client(uri: StorageUri, address: Address | None) -> Redis:
    """Return a client of redis-py for one server."""
    connection = uri.make_connection(address, timeout_seconds=ADMIN_TIMEOUT_SECONDS)
    arguments = uri.connection_arguments(timeout_seconds=ADMIN_TIMEOUT_SECONDS)
    if uri.kind == "unix":
        arguments["path"] = uri.path
    else:
        arguments["host"], arguments["port"] = address or uri.addresses[0]
    return Redis(connection_pool=ConnectionPool(connection_class=type(connection), **arguments))


class SingleTransport:
    """One server, by TCP, TLS or a unix socket."""

    def __init__(self, uri: StorageUri, *, timeout_seconds: float, on_change: Callable[[Node], None]) -> None:
        self._uri = uri
        self._node = Node(
            uri.path or "{}:{}".format(*uri.addresses[0]),
            self._connect,
            timeout_seconds=timeout_seconds,
            trial=make_trial(),
            on_change=on_change,
        )

    def _connect(self, *, timeout_seconds: float) -> Connection:
        return self._uri.make_connection(None, timeout_seconds=timeout_seconds)

    @property
    def nodes(self) -> Sequence[Node]:
        """The one server."""
        return (self._node,)

    @property
    def is_degraded(self) -> bool:
        """Whether the server is away."""
        return self._node.is_away

    def route(self, charges: Sequence[Charge]) -> list[tuple[Node, Sequence[Charge]]]:
        """Return that the one server decides everything in one call."""
        return [(self._node, charges)]

    def clients(self) -> Iterator[Redis]:
        """Yield the one client."""
        with make_client(self._uri, None) as client:
            yield client

    def reset_after_fork(self) -> None:
        """Begin anew in a child process."""
        self._node.reset_after_fork()

    def close(self) -> None:
        """Close every connection."""
        self._node.close()


class SentinelTransport(SingleTransport):
    """The server that the sentinels call master; asked for anew with every connection that is opened."""

    def __init__(self, uri: StorageUri, *, timeout_seconds: float, on_change: Callable[[Node], None]) -> None:
        super().__init__(uri, timeout_seconds=timeout_seconds, on_change=on_change)
        self._node.name = f"{uri.service} by sentinel"
        self._last_address: Address | None = None
        self._sentinel_timeout_seconds = max(0.25, 4 * timeout_seconds)

    def _find_master(self, timeout_seconds: float) -> Address:
        sentinels = Sentinel(  # type: ignore[no-untyped-call] # redis-py's own
            self._uri.addresses,
            sentinel_kwargs={
                "username": self._uri.sentinel_username,
                "password": self._uri.sentinel_password,
                "socket_timeout": timeout_seconds,
                "socket_connect_timeout": timeout_seconds,
                "ssl": self._uri.is_tls,
                **self._uri.tls_arguments(),
            },
        )
        try:
            host, port = sentinels.discover_master(self._uri.service)  # type: ignore[no-untyped-call] # likewise
        finally:
            for sentinel in sentinels.sentinels:
                sentinel.close()
        return str(host), int(port)

    def _connect(self, *, timeout_seconds: float) -> Connection:
        try:
            self._last_address = self._find_master(self._sentinel_timeout_seconds)
        except RedisError:
            # Sentinels that are all away take no working master with them.
            if self._last_address is None:
                raise
        return self._uri.make_connection(self._last_address, timeout_seconds=timeout_seconds)

    def clients(self) -> Iterator[Redis]:
        """Yield a client for the master of now."""
        with make_client(self._uri, self._find_master(ADMIN_TIMEOUT_SECONDS)) as client:
            yield client
