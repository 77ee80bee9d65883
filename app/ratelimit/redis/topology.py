"""Which server is asked about which subject: one server, or the master that sentinels name."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from redis import Redis
from redis.connection import Connection, ConnectionPool
from redis.exceptions import RedisError
from redis.sentinel import Sentinel

from app.ratelimit.plan import Charge, Plan, make_limit

from .server import RedisServer
from .storage_uri import HostPort, StorageUri

ADMIN_TIMEOUT_SECONDS: Final = 5.0


def make_probe(subject: str = "probe") -> Charge:
    """Return a charge that changes nothing of anybody's and shows that the server can take decisions."""
    return Charge(Plan([make_limit(120, seconds=1, scope="probe")]), subject)


def make_client(uri: StorageUri, host_port: HostPort | None) -> Redis:
    """Return a client of redis-py for one server."""
    connection_class, arguments = uri.describe_connection(host_port, ADMIN_TIMEOUT_SECONDS)
    return Redis(connection_pool=ConnectionPool(connection_class=connection_class, **arguments))


class SingleTopology:
    """One server, by TCP, TLS or a unix socket."""

    def __init__(self, uri: StorageUri, *, timeout_seconds: float, on_change: Callable[[RedisServer], None]) -> None:
        self._uri = uri
        name = f"{uri.service} by sentinel" if uri.service else uri.path or "{}:{}".format(*uri.hosts[0])
        self._server = RedisServer(
            name, self._connect, timeout_seconds=timeout_seconds, probe=make_probe(), on_change=on_change
        )

    def _connect(self, timeout_seconds: float) -> Connection:
        return self._uri.make_connection(None, timeout_seconds)

    @property
    def servers(self) -> Sequence[RedisServer]:
        """The one server."""
        return (self._server,)

    @property
    def is_degraded(self) -> bool:
        """Whether the server is away."""
        return self._server.breaker.is_open

    def route(self, charges: Sequence[Charge]) -> list[tuple[RedisServer, Sequence[Charge]]]:
        """Return that the one server decides everything in one call."""
        return [(self._server, charges)]

    def clients(self) -> Iterator[Redis]:
        """Yield the one client."""
        with make_client(self._uri, None) as client:
            yield client

    def reset_after_fork(self) -> None:
        """Begin anew in a child process."""
        self._server.reset_after_fork()

    def close(self) -> None:
        """Close every connection."""
        self._server.close()


class SentinelTopology(SingleTopology):
    """The server that the sentinels call master; asked for anew with every connection that is opened."""

    _last_master: HostPort | None = None

    def _find_master(self, timeout_seconds: float) -> HostPort:
        sentinels = Sentinel(  # type: ignore[no-untyped-call] # redis-py's own
            self._uri.hosts,
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

    def _connect(self, timeout_seconds: float) -> Connection:
        try:
            self._last_master = self._find_master(timeout_seconds)
        except RedisError:
            # Sentinels that are all away take no working master with them.
            if self._last_master is None:
                raise
        return self._uri.make_connection(self._last_master, timeout_seconds)

    def clients(self) -> Iterator[Redis]:
        """Yield a client for the master of now."""
        with make_client(self._uri, self._find_master(ADMIN_TIMEOUT_SECONDS)) as client:
            yield client
