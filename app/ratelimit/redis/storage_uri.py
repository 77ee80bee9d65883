"""``RATELIMIT_STORAGE_URI``: read once, checked, and made into what redis-py's connections take."""

import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection

Kind = Literal["memory", "single", "unix", "sentinel", "cluster"]
HostPort = tuple[str, int]

_SCHEMES: Final[Mapping[str, tuple[Kind, bool]]] = {
    "memory": ("memory", False),
    "redis": ("single", False),
    "rediss": ("single", True),
    "unix": ("unix", False),
    "redis+unix": ("unix", False),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
}
_PORTS: Final[Mapping[str, int]] = {"single": 6379, "sentinel": 26379, "cluster": 6379}
_TLS_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_SENTINEL_OPTIONS: Final = ("sentinel_username", "sentinel_password")
ALLOWED: Final = (
    "memory://, redis://[user:password@]host:port/db, rediss://… (with ?ssl_ca_certs=FILE, and ssl_certfile=FILE and"
    " ssl_keyfile=FILE for a client certificate), unix:///path/to/socket?db=0, redis+sentinel://h1:p,h2:p/service,"
    " redis+cluster://h1:p,h2:p, rediss+sentinel:// or rediss+cluster://; special characters of a password are"
    " percent-encoded"
)


class StorageUriError(ValueError):
    """The address of the store is malformed; the message shows what is allowed and repeats no password."""

    def __init__(self, fault: str) -> None:
        super().__init__(f"expected {ALLOWED}; {fault}")


@lru_cache(maxsize=16)
def _make_tls_context(files: tuple[tuple[str, str], ...]) -> ssl.SSLContext:
    named = dict(files)
    context = ssl.create_default_context(cafile=named.get("ssl_ca_certs"))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if "ssl_certfile" in named:
        context.load_cert_chain(named["ssl_certfile"], named["ssl_keyfile"])
    return context


class VerifiedConnection(SSLConnection):
    """redis-py's TLS connection with one context for all: the given CA is the only one trusted, and read only once.

    redis-py makes a context for each connection, which reads every CA of the system (10 ms and more), trusts them
    beside the given one, and eats the budget of a decision.
    """

    def _wrap_socket_with_ssl(self, sock: socket.socket) -> ssl.SSLSocket:
        names = (("ssl_ca_certs", self.ca_certs), ("ssl_certfile", self.certfile), ("ssl_keyfile", self.keyfile))
        context = _make_tls_context(tuple((name, file) for name, file in names if file))
        return context.wrap_socket(sock, server_hostname=self.host)


@dataclass(frozen=True, slots=True)
class StorageUri:
    """Where the windows are kept, and how to get there."""

    kind: Kind
    is_tls: bool = False
    hosts: tuple[HostPort, ...] = ()
    path: str = ""
    database: int = 0
    service: str = ""
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls_files: tuple[tuple[str, str], ...] = ()
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    # As it was given, password included.
    text: str = field(default="memory://", repr=False)

    def describe_connection(self, host_port: HostPort | None, timeout_seconds: float) -> tuple[Any, dict[str, Any]]:
        """Return redis-py's class and arguments for a connection to ``host_port``, or else to the only host or path."""
        arguments = {
            "db": self.database,
            "username": self.username,
            "password": self.password,
            "socket_timeout": timeout_seconds,
            "socket_connect_timeout": timeout_seconds,
            "protocol": 2,
            "driver_info": None,
            **self.tls_arguments(),
        }
        if self.kind == "unix":
            return UnixDomainSocketConnection, {"path": self.path, **arguments}
        host, port = host_port or self.hosts[0]
        return VerifiedConnection if self.is_tls else Connection, {"host": host, "port": port, **arguments}

    def tls_arguments(self) -> dict[str, Any]:
        """Return the arguments that make a connection verify its server's certificate and name."""
        if not self.is_tls:
            return {}
        return {"ssl_cert_reqs": "required", "ssl_check_hostname": True, **dict(self.tls_files)}

    def make_connection(self, host_port: HostPort | None, timeout_seconds: float) -> Connection:
        """Return an unopened connection to ``host_port``, or else to the only host or the socket's path."""
        make, arguments = self.describe_connection(host_port, timeout_seconds)
        connection: Connection = make(**arguments)
        return connection


MEMORY: Final = StorageUri("memory")
"""Each process counts by itself, and forgets when it ends."""


def parse_storage_uri(text: str) -> StorageUri:
    """Return what ``text`` says about the store.

    Raises:
        StorageUriError: ``text`` is malformed, or asks for something that the limiter does not do.
    """
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in _SCHEMES:
        raise StorageUriError("the scheme of the store's address is unknown")
    kind, is_tls = _SCHEMES[scheme]
    if kind == "memory":
        if rest:
            raise StorageUriError("memory:// takes nothing after it")
        return MEMORY
    try:
        # urlsplit would take several hosts for one with a strange port: the hosts are read here.
        parts = urlsplit(f"x://{rest}")
    except ValueError:
        raise StorageUriError("the store's address cannot be read") from None
    if parts.fragment:
        raise StorageUriError("the store's address has a # in it")
    userinfo, _, hosts = parts.netloc.rpartition("@")
    username, _, password = userinfo.partition(":")
    options = _parse_options(parts.query, kind=kind, is_tls=is_tls)
    tls_files = tuple((name, options[name]) for name in _TLS_FILES if name in options)
    if ("ssl_certfile" in options) != ("ssl_keyfile" in options):
        raise StorageUriError("ssl_certfile and ssl_keyfile are only good together")
    path = unquote(parts.path)
    if kind == "unix" and not path.startswith("/"):
        raise StorageUriError("a unix socket needs its absolute path")
    return StorageUri(
        kind=kind,
        is_tls=is_tls,
        hosts=() if kind == "unix" else _parse_hosts(hosts, default_port=_PORTS[kind]),
        path=path if kind == "unix" else "",
        database=_parse_database(path, options, kind=kind),
        service=_parse_service(path) if kind == "sentinel" else "",
        username=unquote(username) or None,
        password=unquote(password) or None,
        tls_files=tls_files,
        sentinel_username=options.get("sentinel_username"),
        sentinel_password=options.get("sentinel_password"),
        text=text,
    )


def _parse_options(query: str, *, kind: Kind, is_tls: bool) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise StorageUriError("the options after the ? cannot be read") from None
    allowed = {"db"} if kind in {"single", "unix", "sentinel"} else set()
    allowed |= set(_TLS_FILES) if is_tls else set()
    allowed |= set(_SENTINEL_OPTIONS) if kind == "sentinel" else set()
    for name, _value in pairs:
        if name not in allowed:
            # Timeouts and retries above all: the budget of a decision is RATELIMIT_STORE_BUDGET_MS alone.
            raise StorageUriError(f"the option {name[:40]!r} is not allowed here")
    options = dict(pairs)
    if len(options) != len(pairs):
        raise StorageUriError("an option is given twice")
    for name in _TLS_FILES:
        if name in options and not Path(options[name]).is_file():
            raise StorageUriError(f"{name} names no file")
    return options


def _parse_hosts(text: str, *, default_port: int) -> tuple[HostPort, ...]:
    host_ports = []
    for part in text.split(","):
        try:
            parsed = urlsplit(f"x://{part}")
            host, port = parsed.hostname, parsed.port
        except ValueError:
            raise StorageUriError("a port is no number from 1 to 65535") from None
        if not host or port == 0:
            raise StorageUriError("a host is missing")
        host_ports.append((unquote(host), port or default_port))
    return tuple(host_ports)


def _parse_database(path: str, options: Mapping[str, str], *, kind: Kind) -> int:
    if kind == "cluster":
        if path not in {"", "/"}:
            raise StorageUriError("a cluster has one database only: nothing stands after its hosts")
        return 0
    text = options.get("db") or (path.strip("/") if kind == "single" else "") or "0"
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise StorageUriError("the database is no number")
    return int(text)


def _parse_service(path: str) -> str:
    service = path.strip("/")
    if not service or "/" in service:
        raise StorageUriError("the name of the service that the sentinels watch is missing")
    return service
