"""MySQL and MariaDB through PyMySQL, with deadlines of our own."""

import contextlib
import socket
import ssl
import time
from io import BufferedReader
from typing import TYPE_CHECKING, Any, Final, NoReturn

import pymysql
import pymysql.connections
from pymysql.constants import CLIENT, CR, ER, SERVER_STATUS

from .deadlines import Deadline
from .resolver import resolve
from .url import DatabaseTarget, Host

if TYPE_CHECKING:
    _PlainConnection = pymysql.connections.Connection[Any]
else:
    _PlainConnection = pymysql.connections.Connection  # generic in the stubs only

# Setting a socket's timeout costs a system call; inside one answer it is not set again sooner than this.
_TIMEOUT_AGE_SECONDS: Final = 0.05

# MariaDB has no super_read_only; asking for it by name would be an error there.
LIST_READ_ONLY: Final = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('read_only', 'super_read_only')"


class _Connection(_PlainConnection):
    """A connection whose every exchange with the server is over in ``limit_seconds``, and in the present time limit.

    PyMySQL's own read timeout starts anew with every byte that arrives.
    """

    limit_seconds: float | None = None
    # PyMySQL's own; None only where nothing is sent or read.
    _sock: socket.socket
    _rfile: BufferedReader

    server_status: int
    server_version: str
    unix_socket: Any
    host: str
    port: int

    _deadline: Deadline
    _timeout_set_at: float = 0.0

    def connect(self, sock: socket.socket | None = None) -> None:
        """Connect in the present time limit."""
        self._begin()
        self.connect_timeout = self._deadline.remaining()
        super().connect(sock or self._open_socket())

    def _open_socket(self) -> socket.socket | None:
        """Return a socket that is connected to the first of the host's IPs that takes it; None: PyMySQL does it.

        Raises:
            OSError: none did in time, or the host's name has no IP.
        """
        if self.unix_socket:
            return None
        ips = resolve(self.host, self.port, within_seconds=self._deadline.remaining())
        for ip in ips:
            try:
                opened = socket.create_connection((ip, self.port), self._deadline.remaining())
            except OSError:
                if ip == ips[-1]:
                    raise
            else:
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return opened
        return None

    def _create_ssl_ctx(self, sslp: Any) -> ssl.SSLContext:  # noqa: ANN401 - PyMySQL's; a context, or nothing
        # PyMySQL's own would load every authority of this machine, for 20 ms, and ask none of them.
        return sslp or _make_unverified_context()

    def rollback(self) -> None:
        """Undo the transaction, if there is one; the server's last word on that spares asking it."""
        if self.server_status & SERVER_STATUS.SERVER_STATUS_IN_TRANS:
            super().rollback()

    def _execute_command(self, command: int, sql: str | bytes) -> None:
        self._begin()
        super()._execute_command(command, sql)  # type: ignore[misc] # the stubs leave out private names

    def _begin(self) -> None:
        self._deadline = Deadline(self.limit_seconds)
        self._timeout_set_at = 0.0

    def _read_bytes(self, num_bytes: int) -> bytes:
        pieces = []
        missing = num_bytes
        while missing:
            try:
                self._set_timeout()
                # peek() receives at most once, and only when nothing is buffered.
                piece = self._rfile.read1(missing) if self._rfile.peek(1) else b""
            except OSError as error:
                self._raise_lost(CR.CR_SERVER_LOST, error)
            except BaseException:
                self._force_close()
                raise
            if not piece:
                self._raise_lost(CR.CR_SERVER_LOST, EOFError("the server closed the connection"))
            pieces.append(piece)
            missing -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _write_bytes(self, data: bytes) -> None:
        try:
            self._timeout_set_at = 0.0
            self._set_timeout()
            self._sock.sendall(data)
        except OSError as error:
            self._raise_lost(CR.CR_SERVER_GONE_ERROR, error)

    def _set_timeout(self) -> None:
        now = time.monotonic()
        if now - self._timeout_set_at < _TIMEOUT_AGE_SECONDS:
            return
        remaining = self._deadline.remaining()
        if remaining is not None and remaining <= 0:
            raise TimeoutError("the server did not answer in time")
        self._sock.settimeout(remaining)
        self._timeout_set_at = now

    def _raise_lost(self, code: int, error: Exception) -> NoReturn:
        self._force_close()
        raise pymysql.err.OperationalError(code, f"lost connection to the server ({error})") from error

    def _force_close(self) -> None:
        super()._force_close()  # type: ignore[misc] # the stubs leave out private names


class _ClearTextRefusal:
    """Stands where PyMySQL would tell the password in clear to whoever asks for it."""

    def __init__(self, connection: _PlainConnection) -> None:
        del connection

    def authenticate(self, packet: object) -> NoReturn:
        """Refuse."""
        del packet
        raise pymysql.err.OperationalError(
            CR.CR_AUTH_PLUGIN_ERR, "the server asks for the password in clear, and it is not verified to be the server"
        )


def connect(target: DatabaseTarget, host: Host, *, must_write: bool) -> _Connection:
    """Return a connection to ``host``, its session set up; the present time limit holds.

    With ``must_write`` a server that takes no writes is refused.

    Raises:
        pymysql.err.OperationalError: there is none to be had.
        OSError: nobody listens there, or the host's name has no IP.
    """
    is_verified = target.tls_mode.startswith("verify")
    location = {"unix_socket": host.name} if host.is_socket else {"host": host.name, "port": host.port}
    connection = _Connection(
        defer_connect=True,
        user=target.user or None,
        # As bytes, because PyMySQL would encode text as Latin-1.
        password=target.password.encode(),
        database=target.database,
        charset="utf8mb4",
        autocommit=True,
        program_name="gatehouse",
        # An UPDATE that finds a row counts it, whether or not it changes anything: so do the other databases.
        client_flag=CLIENT.FOUND_ROWS,
        auth_plugin_map={} if is_verified else {"mysql_clear_password": _ClearTextRefusal, "dialog": _ClearTextRefusal},
        **_make_tls_options(target, host),
        **location,
    )
    try:
        connection.connect()
        _set_up_session(connection, target.statement_timeout, must_write=must_write)
        connection.limit_seconds = target.statement_timeout
    except BaseException:
        with contextlib.suppress(pymysql.err.Error):
            connection.close()
        raise
    return connection


def _make_tls_options(target: DatabaseTarget, host: Host) -> dict[str, Any]:
    """Return PyMySQL's options; none at all means to it: encrypt if the server can, verify nothing."""
    if target.tls_mode == "disable" or host.is_socket:
        return {"ssl_disabled": True}
    if target.tls_mode == "prefer":
        return {}
    if target.tls_mode == "require":
        context = _make_unverified_context()
    else:
        context = ssl.create_default_context(cafile=target.tls_ca)
        context.check_hostname = target.tls_mode == "verify-full"
    # Certificates that MySQL made for itself lack what Python 3.13 demands of them.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if target.tls_certificate:
        context.load_cert_chain(target.tls_certificate, target.tls_key)
    return {"ssl": context}


def _make_unverified_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _set_up_session(connection: _Connection, statement_timeout: float, *, must_write: bool) -> None:
    """Make the session mean the same on every server, and let the server give up a little sooner than we do.

    READ COMMITTED is what PostgreSQL does; TRADITIONAL refuses what would otherwise be cut or bent to fit.
    """
    seconds = statement_timeout * 0.9
    limit_name = get_time_limit_name(connection)
    limit = f"{seconds:.3f}" if limit_name == "max_statement_time" else f"{seconds * 1000:.0f}"
    lock_seconds = max(1, int(seconds))
    with connection.cursor() as cursor:
        cursor.execute(
            "SET SESSION sql_mode='TRADITIONAL', SESSION time_zone='+00:00',"
            f" SESSION innodb_lock_wait_timeout={lock_seconds}, SESSION {limit_name}={limit},"
            # MySQL's own would cut a list after 1,024 bytes.
            " SESSION group_concat_max_len=1048576"
        )
        cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        cursor.execute(LIST_READ_ONLY)
        if must_write and any(value.upper() != "OFF" for _, value in cursor.fetchall()):
            raise pymysql.err.OperationalError(ER.OPTION_PREVENTS_STATEMENT, "the server is read-only")


def get_time_limit_name(connection: _Connection) -> str:
    """Return the name of the variable that ends long statements: seconds on MariaDB, milliseconds on MySQL."""
    return "max_statement_time" if "mariadb" in connection.server_version.lower() else "max_execution_time"
