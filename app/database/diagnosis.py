"""Why a database cannot be used, and what to do about it."""

import contextlib
import dataclasses
import re
import socket
import ssl
import struct
from collections.abc import Mapping
from typing import Any, Final, Literal

import psycopg2
import pymysql

from . import mysql, postgres
from .deadlines import remaining_seconds, time_limit
from .faults import Kind, classify, is_timeout
from .url import DatabaseTarget, Host

Cause = Literal[
    "none",
    "name",
    "refused",
    "silent",
    "tls_missing",
    "tls_wanted",
    "tls_ca",
    "tls_host",
    "tls_expired",
    "tls",
    "credentials",
    "database",
    "full",
    "read_only",
    "encoding",
    "other",
]

# cause -> what is wrong, and what to do about it
ADVICE: Final[Mapping[Cause, tuple[str, str]]] = {
    "none": ("It answers and takes writes.", ""),
    "name": ("There is no host of that name.", "Correct the host in DATABASE_URL, or its entry in DNS."),
    "refused": (
        "Nobody listens there.",
        "Start the server, or correct host and port in DATABASE_URL; see that it listens on that address.",
    ),
    "silent": (
        "It does not answer in time.",
        "See whether the server hangs, or a firewall between here and there drops what is sent.",
    ),
    "tls_missing": (
        "The server speaks no TLS.",
        (
            "Give the server a certificate and turn TLS on (PostgreSQL: ssl=on; MySQL: ssl_cert, ssl_key). On a network"
            " that nobody else is on, say in DATABASE_URL that plain text is meant: sslmode=disable (PostgreSQL),"
            " ssl=off (MySQL)."
        ),
    ),
    "tls_wanted": (
        "The server refuses connections without TLS.",
        "Add sslmode=verify-full (PostgreSQL) or ssl=on (MySQL) to DATABASE_URL.",
    ),
    "tls_ca": (
        "The server's certificate was not signed by the CA that is believed here.",
        "Name the CA that signed it in DATABASE_URL: sslrootcert=FILE (PostgreSQL), ssl_ca=FILE (MySQL).",
    ),
    "tls_host": (
        "The server's certificate is for another host name.",
        "Write the host in DATABASE_URL as the certificate has it, or give the server one for this name.",
    ),
    "tls_expired": (
        "The server's certificate has expired, or is not valid yet.",
        "Renew it on the server, and see that the clocks here and there are right.",
    ),
    "tls": (
        "Server and client did not come to an agreement about TLS.",
        (
            "See that the server speaks TLS 1.2 or newer, that the files named in DATABASE_URL are certificates and"
            " keys in PEM that only their owner can read, and that the server believes the client's certificate if it"
            " asks for one."
        ),
    ),
    "credentials": (
        "It does not let this user in.",
        "Correct user and password in DATABASE_URL, or let the user in (pg_hba.conf; CREATE USER, GRANT).",
    ),
    "database": (
        "There is no such database for this user.",
        "Create it (CREATE DATABASE; on MySQL also GRANT), or correct its name in DATABASE_URL.",
    ),
    "full": (
        "It takes no more connections.",
        "Raise the server's max_connections, or lower WORKERS, or pool_size and max_overflow in DATABASE_URL.",
    ),
    "read_only": ("It takes no writes.", "Promote this server, or name the one that takes writes in DATABASE_URL too."),
    "encoding": (
        "The database does not keep all characters: it is not UTF8 (PostgreSQL) or utf8mb4 (MySQL).",
        (
            "PostgreSQL: make it anew, CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0. MySQL, before the first"
            " setup: ALTER DATABASE … CHARACTER SET utf8mb4; later make it anew with that."
        ),
    ),
    "other": ("It cannot be connected to.", "Look into the server's log."),
}
# What libpq says where it has no code to tell; the first that fits.
_POSTGRES_TEXTS: Final[tuple[tuple[str, Cause], ...]] = (
    (r"does not support SSL", "tls_missing"),
    (r"does not match host name", "tls_host"),
    (r"pg_hba\.conf", "credentials"),
    (r"SSL|certificate|TLS|private key", "tls"),
    (r"read-only|hot standby mode is disabled", "read_only"),
    (r"Connection refused|No such file", "refused"),
    (r"too many clients|too many connections|remaining connection slots", "full"),
    (r"password|role .* does not exist|not permitted to log in|authentication", "credentials"),
    (r"database .* does not exist|permission denied for database", "database"),
)
_MYSQL_CODES: Final[Mapping[int, Cause]] = {
    1040: "full",
    1044: "database",  # the user may not use it, or it is not there: the server does not say which
    1045: "credentials",
    1049: "database",
    1130: "credentials",  # this host may not connect
    1203: "full",
    1226: "full",
    1698: "credentials",
    2026: "tls_missing",  # PyMySQL's own, where the server does not offer it
    3159: "tls_wanted",
}
# OpenSSL's X509_V_ERR_…; any other one is about who signed it.
_VERIFICATIONS: Final[Mapping[int, Cause]] = {9: "tls_expired", 10: "tls_expired", 62: "tls_host", 64: "tls_host"}
# https://www.postgresql.org/docs/current/protocol-message-formats.html, SSLRequest
_SSL_REQUEST: Final = struct.pack("!II", 8, 80877103)


@dataclasses.dataclass(frozen=True, slots=True)
class Diagnosis:
    """How one host is."""

    host: str
    cause: Cause

    @property
    def fault(self) -> str:
        """What is wrong, or that nothing is."""
        return ADVICE[self.cause][0]

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return ADVICE[self.cause][1]


def diagnose(target: DatabaseTarget) -> tuple[Diagnosis, ...]:
    """Return how each of the target's hosts is, in their order; none for SQLite. Nothing of it is secret."""
    return tuple(Diagnosis(str(host), _examine(target, host)) for host in target.hosts)


def _examine(target: DatabaseTarget, host: Host) -> Cause:
    connect = postgres.connect if target.dialect == "postgresql" else mysql.connect
    with time_limit(target.connect_timeout):
        try:
            with contextlib.closing(connect(target, host, must_write=True)) as connection:
                return _examine_encoding(connection, target)
        except (psycopg2.Error, pymysql.err.Error, OSError) as error:
            if isinstance(error, psycopg2.Error) and "certificate verify failed" in str(error):
                return _examine_certificate(target, host)
            cause = _find_cause(error)
    if cause == "credentials" and target.tls_mode == "disable":
        # A server that lets this user in with TLS only may say no more than that it does not let them in.
        encrypted = _examine(dataclasses.replace(target, tls_mode="require"), host)
        return "tls_wanted" if encrypted in {"none", "encoding", "read_only"} else cause
    return cause


def _examine_encoding(connection: Any, target: DatabaseTarget) -> Cause:  # noqa: ANN401 - either driver's
    is_postgres = target.dialect == "postgresql"
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_encoding" if is_postgres else "SELECT @@character_set_database")
        row = cursor.fetchone()
    return "none" if row and row[0] == ("UTF8" if is_postgres else "utf8mb4") else "encoding"


def _examine_certificate(target: DatabaseTarget, host: Host) -> Cause:
    """Return what is wrong with the certificate of a PostgreSQL server: libpq says only that something is."""
    try:
        context = ssl.create_default_context(cafile=postgres.find_ca(target))
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        context.check_hostname = target.tls_mode == "verify-full"
        with socket.create_connection((host.name, host.port), remaining_seconds()) as plain:
            plain.sendall(_SSL_REQUEST)
            plain.recv(1)
            context.wrap_socket(plain, server_hostname=host.name).close()
    except ssl.SSLError as error:
        return _find_cause(error)
    except OSError:
        pass
    return "tls"


def _find_cause(error: Exception) -> Cause:
    origin = getattr(error, "original_exception", None) or error
    if isinstance(origin, ssl.SSLCertVerificationError):
        return _VERIFICATIONS.get(origin.verify_code, "tls_ca")
    by_kind: tuple[tuple[bool, Cause], ...] = (
        (isinstance(origin, ssl.SSLError), "tls"),
        (isinstance(origin, socket.gaierror), "name"),
        (is_timeout(error) or is_timeout(origin), "silent"),
        (isinstance(origin, ConnectionError | FileNotFoundError), "refused"),
        (classify(error) is Kind.READ_ONLY, "read_only"),
    )
    named = next((cause for applies, cause in by_kind if applies), None)
    if named is not None:
        return named
    if isinstance(error, pymysql.err.Error):
        return _MYSQL_CODES.get(error.args[0] if error.args else 0, "other")
    text = str(error)
    return next((cause for pattern, cause in _POSTGRES_TEXTS if re.search(pattern, text)), "other")
