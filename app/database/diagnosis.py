"""Why a database cannot be used, and what to do about it."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import socket
import ssl
from typing import TYPE_CHECKING, Any, Final, Literal

import psycopg2
import pymysql

from . import mysql, postgres
from .deadlines import time_limit
from .faults import Kind, classify, is_silence

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .url import DatabaseTarget, Host

Ailment = Literal[
    "none", "name", "refused", "silent", "tls", "credentials", "database", "read_only", "encoding", "other"
]

REMEDIES: Final[Mapping[Ailment, str]] = {
    "none": "",
    "name": "Correct the host in DATABASE_URL, or its entry in DNS.",
    "refused": "Start the server, or correct host and port in DATABASE_URL; see that it listens on that address.",
    "silent": "See whether the server hangs, or a firewall between here and there drops what is sent.",
    "tls": "See that the server speaks TLS, and that its certificate is valid, names this host, and comes from the CA"
    " that DATABASE_URL names (sslrootcert, ssl_ca).",
    "credentials": "Correct user and password in DATABASE_URL, or let the user in (pg_hba.conf; CREATE USER, GRANT).",
    "database": "Create the database (CREATE DATABASE), or correct its name in DATABASE_URL.",
    "read_only": "Promote this server, or name the one that takes writes in DATABASE_URL too.",
    "encoding": "Make the database anew in UTF-8 (PostgreSQL), or ALTER DATABASE … CHARACTER SET utf8mb4 (MySQL).",
    "other": "Look into the server's log.",
}
# What libpq says where it has no code to tell.
_POSTGRES_TEXTS: Final[tuple[tuple[str, Ailment], ...]] = (
    (r"SSL|certificate|TLS", "tls"),
    (r"read-only", "read_only"),
    (r"Connection refused|No such file", "refused"),
    (r"password|pg_hba\.conf|role .* does not exist|not permitted to log in|authentication", "credentials"),
    (r"database .* does not exist", "database"),
)
_MYSQL_CODES: Final[Mapping[int, Ailment]] = {
    1044: "database",  # the user may not use it, or it is not there: the server does not say which
    1045: "credentials",
    1049: "database",
    1130: "credentials",  # this host may not connect
    1698: "credentials",
    2026: "tls",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Diagnosis:
    """How one host is."""

    host: str
    ailment: Ailment

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return REMEDIES[self.ailment]


def diagnose(target: DatabaseTarget) -> tuple[Diagnosis, ...]:
    """Return how each of the target's hosts is, in their order; none for SQLite. Nothing of it is secret."""
    return tuple(Diagnosis(str(host), _examine(target, host)) for host in target.hosts)


def _examine(target: DatabaseTarget, host: Host) -> Ailment:
    connect = postgres.connect if target.dialect == "postgresql" else mysql.connect
    try:
        with (
            time_limit(target.connect_timeout),
            contextlib.closing(connect(target, host, must_write=True)) as connection,
        ):
            return _examine_encoding(connection, target)
    except (psycopg2.Error, pymysql.err.Error, OSError) as error:
        return _name(error)


def _examine_encoding(connection: Any, target: DatabaseTarget) -> Ailment:  # noqa: ANN401 - either driver's
    is_postgres = target.dialect == "postgresql"
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_encoding" if is_postgres else "SELECT @@character_set_database")
        row = cursor.fetchone()
    return "none" if row and row[0] == ("UTF8" if is_postgres else "utf8mb4") else "encoding"


def _name(error: Exception) -> Ailment:
    origin = getattr(error, "original_exception", None) or error
    by_kind: tuple[tuple[bool, Ailment], ...] = (
        (isinstance(origin, ssl.SSLError), "tls"),
        (isinstance(origin, socket.gaierror), "name"),
        (is_silence(error) or is_silence(origin), "silent"),
        (isinstance(origin, ConnectionError | FileNotFoundError), "refused"),
        (classify(error) is Kind.READ_ONLY, "read_only"),
    )
    named = next((ailment for applies, ailment in by_kind if applies), None)
    if named is not None:
        return named
    if isinstance(error, pymysql.err.Error):
        return _MYSQL_CODES.get(error.args[0] if error.args else 0, "other")
    text = str(error)
    return next((ailment for pattern, ailment in _POSTGRES_TEXTS if re.search(pattern, text)), "other")
