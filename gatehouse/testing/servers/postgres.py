"""A throwaway PostgreSQL on a loopback port: alone, or a primary with streaming standbys."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg2

from .ports import find_free_port
from .processes import ServerMissing, ServerProcess, find_program
from .waiting import wait_until

if TYPE_CHECKING:
    from typing import Self

    from .certificate import Certificate

PASSWORD = "pg p@ss/wörd"
URL_PASSWORD = "pg%20p%40ss%2Fw%C3%B6rd"
USER = "gatehouse"
DATABASE = "accounts"
START_SECONDS = 30.0
_FOLDERS = ("/usr/lib/postgresql/*/bin", "/opt/homebrew/opt/postgresql*/bin", "/usr/local/opt/postgresql*/bin")

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",  # the tests cut the power of processes, never that of the machine
    "max_connections": "60",
    "wal_level": "replica",
    "max_wal_senders": "4",
    "hot_standby": "on",
    "log_connections": "on",
    "log_min_messages": "log",
    "shared_buffers": "32MB",
}


def find_postgres() -> Path | None:
    """Return the folder of PostgreSQL's programs, if it is installed."""
    program = find_program("initdb", *_FOLDERS)
    return program.parent if program else None


class Postgres(ServerProcess):
    """A PostgreSQL server that wants passwords. Use it in a ``with`` block: it is gone afterwards."""

    def __init__(self, *, tls: Certificate | None = None, ca: Path | None = None, **settings: str) -> None:
        """Prepare the folder.

        Args:
            tls: the server's certificate; without one the server speaks no TLS.
            ca: whose client certificates the server believes.
            settings: server settings on top of ``SETTINGS``.
        """
        programs = find_postgres()
        if programs is None:
            raise ServerMissing("postgresql", "postgresql")
        super().__init__("postgres", "postgres")
        self._programs = programs
        self.data = self.folder / "data"
        self.port = find_free_port()
        self._settings = SETTINGS | settings
        if tls is not None:
            for source, name in ((tls.certificate, "server.pem"), (tls.key, "server.key")):
                self.give(Path(shutil.copy(source, self.folder / name)))
            self._settings |= {
                "ssl": "on",
                "ssl_cert_file": str(self.folder / "server.pem"),
                "ssl_key_file": str(self.folder / "server.key"),
            }
        if ca is not None:
            self._settings["ssl_ca_file"] = str(self.give(Path(shutil.copy(ca, self.folder / "clients.pem"))))

    def __enter__(self) -> Self:
        if not self.data.exists():
            self._initialize()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def _install(self) -> None:
        password_file = self.folder / "password"
        password_file.write_text(PASSWORD)
        self.give(password_file)
        self.run([
            self._programs / "initdb", "--pgdata", self.data, "--username", "postgres", "--pwfile", password_file,
            "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync",
        ])  # fmt: skip

    def _initialize(self) -> None:
        self.fill(self.data, self._install)
        self.allow("scram-sha-256")
        self.start()
        self.execute(
            f"CREATE ROLE {USER} LOGIN REPLICATION PASSWORD '{PASSWORD}'",
            f"CREATE DATABASE {DATABASE} OWNER {USER}",
            user="postgres",
            database="postgres",
        )

    def allow(self, method: str, *, only: str = "host", address: str = "127.0.0.1/32") -> None:
        """Let everybody in who passes ``method``, written as pg_hba.conf has it, from the next start or reload on."""
        if not address:
            only = "local"
        lines = [f"{only} {database} all {address} {method}\n" for database in ("all", "replication")]
        (self.data / "pg_hba.conf").write_text("".join(lines))

    def start(self, **changes: str) -> None:
        """Start the server, again after a kill too, with ``changes`` to its settings from now on."""
        self._settings |= changes
        if self.is_running:
            return
        # What a killed server left would be taken for a running one.
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        self.launch([self._programs / "postgres", "-D", self.data, "-p", str(self.port), *settings])
        wait_until(self._is_answering, within_seconds=START_SECONDS, what=f"PostgreSQL to start:\n{self.log}")

    def reload(self) -> None:
        """Read the settings again; what connects from now on meets the new ones."""
        before = self.log.count("reloading configuration files")
        os.kill(self.pid, signal.SIGHUP)
        wait_until(
            lambda: self.log.count("reloading configuration files") > before, within_seconds=10, what="the reload"
        )

    def stop(self, stop_signal: signal.Signals = signal.SIGINT) -> None:
        """End the server; SIGINT is PostgreSQL's fast shutdown."""
        super().stop(stop_signal)

    def remove(self) -> None:
        """End the server at once, and delete its folder."""
        # SIGQUIT is immediate too, and unlike SIGKILL leaves no shared memory behind.
        self.stop(signal.SIGQUIT)
        super().remove()

    def make_standby(self, *, application_name: str = "standby") -> Postgres:
        """Return a streaming standby of this server, not yet started."""
        standby = Postgres()
        standby._settings |= {name: value for name, value in self._settings.items() if name.startswith("ssl")}
        source = (
            f"host=127.0.0.1 port={self.port} user={USER} password='{PASSWORD}' application_name={application_name}"
        )
        standby.run([
            self._programs / "pg_basebackup", "--pgdata", standby.data, "--dbname", source, "--write-recovery-conf",
            "--checkpoint", "fast", "--no-sync", "--wal-method", "stream",
        ])  # fmt: skip
        return standby

    def promote(self) -> None:
        """Turn a standby into a server that takes writes; return when it does."""
        self.run([self._programs / "pg_ctl", "promote", "--pgdata", self.data, "--wait"])

    def make_url(self, query: str = "", *, port: int | None = None, database: str = DATABASE) -> str:
        """Return the URL to give to the code under test, through the proxy on ``port`` where there is one."""
        return make_url(port or self.port, query=query, database=database)

    def make_database(self, name: str) -> None:
        """Make one more empty database that the code under test may do everything in."""
        self.administrate(f"CREATE DATABASE {name} OWNER {USER}")

    def execute(self, *statements: str, user: str = USER, database: str = DATABASE) -> list[tuple[Any, ...]]:
        """Run ``statements`` directly, past the code under test, and return the last one's rows."""
        connection = psycopg2.connect(
            host="127.0.0.1", port=self.port, user=user, password=PASSWORD, dbname=database, connect_timeout=5
        )
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def administrate(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run ``statements`` as the superuser."""
        return self.execute(*statements, user="postgres")

    def _is_answering(self) -> bool:
        if not self.is_running:
            raise RuntimeError(f"PostgreSQL ended at once:\n{self.log}")
        try:
            self.execute("SELECT 1", user="postgres", database="postgres")
        except psycopg2.OperationalError:
            return False
        return True


def make_url(*ports: int, query: str = "", database: str = DATABASE) -> str:
    """Return a URL of several servers on this machine, in that order."""
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    return f"postgresql://{USER}:{URL_PASSWORD}@{hosts}/{database}{'?' if query else ''}{query}"
