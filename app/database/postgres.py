"""PostgreSQL through psycopg2, with deadlines of our own."""

import ssl
from pathlib import Path
from typing import Any, Final

import psycopg2

from .deadlines import remaining_seconds
from .resolver import resolve
from .url import DatabaseTarget, Host
from .wait_callback import Connection, install_wait_callback

# Where systems keep the certificates that they trust. libpq's own word for it ("system") is of no use in the wheels of
# psycopg2, whose OpenSSL looks where the machine that built it kept them.
_SYSTEM_CAS: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


def connect(target: DatabaseTarget, host: Host, *, must_write: bool) -> Connection:
    """Return a connection to ``host``, its session set up; the present time limit holds.

    With ``must_write`` a server that takes no writes is refused.

    Raises:
        psycopg2.OperationalError: there is none to be had.
        OSError: the host's name has no IP.
    """
    install_wait_callback()
    connection: Connection = psycopg2.connect(
        connection_factory=Connection,
        **_make_host_options(host),
        user=target.user or None,
        password=target.password or None,
        dbname=target.database,
        target_session_attrs="read-write" if must_write else "any",
        application_name="gatehouse",
        client_encoding="UTF8",
        gssencmode="disable",
        **_make_tls_options(target),
    )
    try:
        _set_up_session(connection, target.statement_timeout)
        connection.limit_seconds = target.statement_timeout
    except BaseException:
        connection.close()
        raise
    return connection


def _make_host_options(host: Host) -> dict[str, Any]:
    """Return where to connect to: each IP in turn, by the name that its certificate has to bear."""
    if host.is_socket:
        return {"host": host.name, "port": host.port}
    ips = resolve(host.name, host.port, within_seconds=remaining_seconds())
    return {"host": ",".join([host.name] * len(ips)), "hostaddr": ",".join(ips), "port": host.port}


def find_ca(target: DatabaseTarget) -> str | None:
    """Return the file of the CAs that are believed: the target's, or else the system's where it has one."""
    candidates = (ssl.get_default_verify_paths().cafile, *_SYSTEM_CAS)
    return target.tls_ca or next((path for path in candidates if path and Path(path).is_file()), None)


def _make_tls_options(target: DatabaseTarget) -> dict[str, Any]:
    options: dict[str, Any] = {"sslmode": target.tls_mode, "ssl_min_protocol_version": "TLSv1.2"}
    if target.tls_certificate and target.tls_key:
        options |= {"sslcert": target.tls_certificate, "sslkey": target.tls_key}
    if target.tls_ca or target.tls_mode == "verify-full":
        options["sslrootcert"] = find_ca(target) or "system"
    if not target.tls_mode.startswith("verify"):
        # Whoever answers may not be the server: the password is not told in clear, only proven.
        options["require_auth"] = "!password"
    return options


def _set_up_session(connection: Connection, statement_timeout: float) -> None:
    """Let the server give up too, a little sooner: it then frees its locks, and the connection stays of use.

    A server whose client has gone away notices at the next check of the connection, where it knows how to.
    """
    timeout_ms = str(round(statement_timeout * 900))
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('statement_timeout', %s, false), set_config('lock_timeout', %s, false),"
            " set_config('TimeZone', 'UTC', false), (SELECT set_config(name, '1s', false) FROM pg_settings"
            " WHERE name = 'client_connection_check_interval')",
            (timeout_ms, timeout_ms),
        )
    connection.autocommit = False
