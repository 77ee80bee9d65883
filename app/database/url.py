"""``DATABASE_URL`` read once, checked, and frozen."""

import dataclasses
import difflib
import ipaddress
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import unquote

Dialect = Literal["sqlite", "postgresql", "mysql"]

# libpq's words, used for MySQL too: from "never encrypted" to "encrypted, chain and host name verified".
TlsMode = Literal["disable", "prefer", "require", "verify-ca", "verify-full"]

SCHEMES: Final[Mapping[str, Dialect]] = {
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
    "postgresql": "postgresql",
    "postgresql+psycopg2": "postgresql",
    "mysql": "mysql",
    "mysql+pymysql": "mysql",
    "mariadb": "mysql",
    "mariadb+pymysql": "mysql",
}
DEFAULT_PORTS: Final[Mapping[str, int]] = {"postgresql": 5432, "mysql": 3306}
EXAMPLES: Final[Mapping[Dialect, str]] = {
    "sqlite": "sqlite:///var/app.db",
    "postgresql": "postgresql://user:password@host:5432/database",
    "mysql": "mysql://user:password@host:3306/database",
}
# What asks for encryption, server verified; what says that there is to be none.
TLS_WORDS: Final[Mapping[Dialect, tuple[str, str]]] = {
    "postgresql": ("sslmode=verify-full (with a CA of your own also sslrootcert=FILE)", "sslmode=disable"),
    "mysql": ("ssl=on (with a CA of your own instead ssl_ca=FILE)", "ssl=off"),
}


class DatabaseUrlError(ValueError):
    """The database's URL is wrong; the message names the fault and what is allowed, and repeats no secret."""


@dataclasses.dataclass(frozen=True, slots=True)
class Host:
    """Where one server listens: a name, an IP, or the path of a socket (its folder, for PostgreSQL)."""

    name: str
    port: int

    @property
    def is_socket(self) -> bool:
        """Whether the server is reached through the file system."""
        return self.name.startswith("/")

    @property
    def is_local(self) -> bool:
        """Whether what is sent to it stays on this machine."""
        if self.is_socket or self.name.lower() == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.name).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        name = f"[{self.name}]" if ":" in self.name else self.name
        return name if self.is_socket else f"{name}:{self.port}"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseTarget:
    """A checked database URL. Times are in seconds."""

    dialect: Dialect
    database: str
    hosts: tuple[Host, ...] = ()
    user: str = ""
    password: str = dataclasses.field(default="", repr=False)

    pool_size: int = 5
    max_overflow: int = 10
    pool_timeout: float = 1.0
    pool_recycle: int = 1800
    connect_timeout: float = 2.0
    statement_timeout: float = 3.0
    busy_timeout: float = 4.0
    prepared_statements: bool = True

    tls_mode: TlsMode = "prefer"
    tls_ca: str | None = None
    tls_certificate: str | None = None
    tls_key: str | None = None
    # The URL that it was read from, password included.
    text: str = dataclasses.field(default="", compare=False, repr=False)

    def refuse_clear_text(self) -> None:
        """Make sure that whoever goes to another machine asks for encryption, or says in words that there is none.

        Raises:
            DatabaseUrlError: the URL does neither.
        """
        if self.tls_mode == "prefer" and not all(host.is_local for host in self.hosts):
            encrypted, clear = TLS_WORDS[self.dialect]
            raise DatabaseUrlError(
                f"encryption to a host that is not on this machine: add {encrypted}, or {clear} if what is sent there"
                " may travel in clear"
            )

    def __str__(self) -> str:
        if self.dialect == "sqlite":
            return f"sqlite:///{self.database}"
        password = ":***" if self.password else ""
        user = f"{self.user}{password}@" if self.user else ""
        return f"{self.dialect}://{user}{','.join(map(str, self.hosts))}/{self.database}"


def parse_database_url(text: str) -> DatabaseTarget:
    """Return what ``text`` asks for, defaults filled in.

    Nothing of the URL but the names of its parameters is ever repeated in a message, because a password whose special
    characters are not percent-encoded may end up in any other part of it.

    Raises:
        DatabaseUrlError: it is wrong; the message completes "expected …" and shows no secret.
    """
    if any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 or 0xD800 <= ord(char) < 0xE000 for char in text):
        raise DatabaseUrlError("a URL without line breaks or control characters")
    scheme, separator, rest = text.strip().partition("://")
    if scheme.lower() == "postgres":
        raise DatabaseUrlError("postgresql:// instead of postgres://")
    dialect = SCHEMES.get(scheme.lower())
    if not separator or dialect is None:
        raise DatabaseUrlError("a URL such as " + " or ".join(EXAMPLES.values()))
    location, _, query = rest.partition("?")
    if dialect == "sqlite":
        path = _parse_path(location)
        return DatabaseTarget(dialect=dialect, database=path, text=text, **_read_parameters(dialect, query))
    authority, slash, database = location.partition("/")
    if "@" in database or "@" in query:
        raise DatabaseUrlError("special characters percent-encoded in user and password: @ as %40, / as %2F, ? as %3F")
    if not slash or not database or "/" in database:
        raise DatabaseUrlError(f"one database's name after the host, as in {EXAMPLES[dialect]}")
    credentials, _, hosts = authority.rpartition("@")
    user, _, password = credentials.partition(":")
    return DatabaseTarget(
        dialect=dialect,
        database=_decode(database),
        hosts=_parse_hosts(hosts, dialect),
        user=_decode(user),
        password=_decode(password),
        text=text,
        **_read_parameters(dialect, query),
    )


def _parse_path(location: str) -> str:
    if location.startswith("/:memory:") or location in {"", "/"}:
        raise DatabaseUrlError("a file, as in sqlite:///var/app.db; a database in memory is one connection's alone")
    if not location.startswith("/"):
        raise DatabaseUrlError("three slashes before a relative path (sqlite:///var/app.db), four before an absolute")
    return location[1:]


def _decode(part: str) -> str:
    """Return ``part`` with its percent-encoding undone."""
    try:
        decoded = unquote(part, errors="strict")
    except UnicodeDecodeError:
        raise DatabaseUrlError("percent-encoded characters in UTF-8") from None
    if "\0" in decoded:
        raise DatabaseUrlError("no NUL character")
    return decoded


def _parse_hosts(text: str, dialect: Dialect) -> tuple[Host, ...]:
    fault = DatabaseUrlError(
        f"one or more hosts separated by commas, each as host, host:port or [IPv6]:port, as in"
        f" {EXAMPLES[dialect]}; special characters in user and password percent-encoded"
    )
    hosts = []
    for part in text.split(","):
        match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:\[\]@]+))(?::([0-9]{1,5}))?", part)
        if match is None:
            raise fault
        port = int(match[3]) if match[3] else DEFAULT_PORTS[dialect]
        if not 1 <= port <= 65535:
            raise DatabaseUrlError("ports from 1 to 65535")
        name = match[1] or _decode(match[2])
        if not name.startswith("/") and not re.fullmatch(r"[A-Za-z0-9._:-]+", name):
            raise fault
        hosts.append(Host(name, port))
    return tuple(hosts)


# --- parameters ---


def _seconds(*, at_least: float, at_most: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        if not re.fullmatch(r"[0-9]{1,5}(\.[0-9]{1,3})?", text) or not at_least <= float(text) <= at_most:
            raise DatabaseUrlError(f"seconds from {at_least:g} to {at_most:g}")
        return float(text)

    return parse


def _whole(*, at_least: int, at_most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,6}", text) or not at_least <= int(text) <= at_most:
            raise DatabaseUrlError(f"a whole number from {at_least} to {at_most}")
        return int(text)

    return parse


_POOL: Final = {
    "pool_size": _whole(at_least=1, at_most=1000),
    "max_overflow": _whole(at_least=0, at_most=1000),
    "pool_timeout": _seconds(at_least=0.1, at_most=60),
    "pool_recycle": _whole(at_least=1, at_most=86400),
}
_NETWORK: Final = {
    "connect_timeout": _seconds(at_least=0.1, at_most=60),
    "statement_timeout": _seconds(at_least=0.1, at_most=3600),
}
_NUMBERS: Final[Mapping[Dialect, Mapping[str, Callable[[str], float]]]] = {
    "sqlite": {**_POOL, "busy_timeout": _seconds(at_least=0.1, at_most=60)},
    "postgresql": {**_POOL, **_NETWORK},
    "mysql": {**_POOL, **_NETWORK},
}
# What the files of the CA, of the client's certificate and of its key are called.
_FILES: Final[Mapping[Dialect, tuple[str, ...]]] = {
    "sqlite": (),
    "postgresql": ("sslrootcert", "sslcert", "sslkey"),
    "mysql": ("ssl_ca", "ssl_cert", "ssl_key"),
}
_WORDS: Final[Mapping[Dialect, Mapping[str, tuple[str, ...]]]] = {
    "sqlite": {},
    "postgresql": {
        "sslmode": ("disable", "prefer", "require", "verify-ca", "verify-full"),
        "prepared_statements": ("on", "off"),
    },
    "mysql": {"ssl": ("off", "unverified", "on"), "ssl_verify_identity": ("true", "false"), "charset": ("utf8mb4",)},
}


def _read_parameters(dialect: Dialect, query: str) -> dict[str, Any]:
    """Return the fields of the target that ``query``, after the question mark, gives."""
    values = _split_parameters(dialect, query)
    options: dict[str, Any] = {}
    for name, parse in _NUMBERS[dialect].items():
        if name in values:
            try:
                options[name] = parse(values[name])
            except DatabaseUrlError as error:
                raise DatabaseUrlError(f"the parameter {name} as {error}") from None
    if "prepared_statements" in values:
        options["prepared_statements"] = values["prepared_statements"] == "on"
    return options if dialect == "sqlite" else options | _read_tls(dialect, values)


def _split_parameters(dialect: Dialect, query: str) -> dict[str, str]:
    """Return the parameters, each known and given once, words checked."""
    values: dict[str, str] = {}
    allowed = [*_NUMBERS[dialect], *_FILES[dialect], *_WORDS[dialect]]
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        if name not in allowed:
            raise DatabaseUrlError(_describe_unknown(name, allowed))
        if name in values:
            raise DatabaseUrlError(f"the parameter {name} once")
        values[name] = _decode(value)
    for name, words in _WORDS[dialect].items():
        if values.get(name, words[0]) not in words:
            raise DatabaseUrlError(f"the parameter {name} as {' or '.join(words)}")
    return values


def _read_tls(dialect: Dialect, values: Mapping[str, str]) -> dict[str, Any]:
    """Return what the parameters say about encryption."""
    ca, certificate, key = _FILES[dialect]
    files = [name for name in _FILES[dialect] if name in values]
    for name in files:
        if not Path(values[name]).is_file():
            raise DatabaseUrlError(f"an existing file as {name}")
    if (certificate in files) != (key in files):
        raise DatabaseUrlError(f"both or neither of {certificate} and {key}")
    mode = _find_mode(values, default="verify-full" if files else "prefer")
    if mode == "disable" and files:
        raise DatabaseUrlError(f"either {TLS_WORDS[dialect][1]} or certificates, not both")
    if mode == "verify-ca" and ca not in files:
        raise DatabaseUrlError(f"{ca}, without which no host name means no check")
    paths = {"tls_ca": values.get(ca), "tls_certificate": values.get(certificate), "tls_key": values.get(key)}
    return {"tls_mode": mode, **paths}


def _find_mode(values: Mapping[str, str], *, default: TlsMode) -> TlsMode:
    identity, word = values.get("ssl_verify_identity"), values.get("ssl")
    if identity is not None and word in {"off", "unverified"}:
        raise DatabaseUrlError(f"either ssl={word} or ssl_verify_identity, not both")
    if word == "unverified" and "ssl_ca" in values:
        raise DatabaseUrlError("either ssl=unverified or ssl_ca, not both")
    if identity is not None:
        return "verify-full" if identity == "true" else "verify-ca"
    modes: dict[str | None, TlsMode] = {"off": "disable", "unverified": "require", "on": "verify-full"}
    return values.get("sslmode") or modes.get(word, default)  # type: ignore[return-value] # one of _WORDS


def _describe_unknown(name: str, allowed: list[str]) -> str:
    shown = f"not {name!r}" if re.fullmatch(r"[A-Za-z_-]{1,40}", name) else "not what was given"
    close = difflib.get_close_matches(name.lower().replace("-", "_"), allowed, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    return f"only known parameters, {shown}{hint}; allowed are {', '.join(allowed)}"
