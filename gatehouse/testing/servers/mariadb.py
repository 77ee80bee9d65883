"""A throwaway MariaDB on a loopback port."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pymysql

from .ports import find_free_port
from .processes import ServerMissing, ServerProcess, find_program
from .waiting import wait_until

if TYPE_CHECKING:
    from typing import Self

    from .certificate import Certificate

PASSWORD = "my p@ss/word"
URL_PASSWORD = "my%20p%40ss%2Fword"
USER = "gatehouse"
DATABASE = "accounts"
START_SECONDS = 30.0
_FOLDERS = ("/usr/sbin", "/usr/libexec", "/opt/homebrew/opt/mariadb*/bin", "/usr/local/opt/mariadb*/bin")

SETTINGS = {
    "bind-address": "127.0.0.1",
    # Not the product's choice but its worst case: it must ask for utf8mb4 itself.
    "character-set-server": "latin1",
    "innodb-buffer-pool-size": "32M",
    "innodb-log-file-size": "16M",
    "innodb-flush-log-at-trx-commit": "2",  # the tests cut the power of processes, never that of the machine
    "skip-name-resolve": "1",
    "log-warnings": "4",
}


def find_mariadb() -> Path | None:
    """Return MariaDB's server program, if it is installed."""
    return find_program("mariadbd", *_FOLDERS)


class MariaDb(ServerProcess):
    """A MariaDB server that wants passwords. Use it in a ``with`` block: it is gone afterwards."""

    def __init__(self, *, tls: Certificate | None = None, ca: Path | None = None, **settings: str) -> None:
        """Prepare the folder.

        Args:
            tls: the server's certificate; without one the server speaks no TLS.
            ca: whose client certificates the server believes.
            settings: server settings on top of ``SETTINGS``; an underscore stands for a hyphen.
        """
        program = find_mariadb()
        if program is None:
            raise ServerMissing("mariadb", "mariadb-server")
        super().__init__("mariadb", "mysql")
        self._program = program
        self.data = self.folder / "data"
        self.socket = self.folder / "mariadb.sock"
        self.port = find_free_port()
        self._settings = SETTINGS | {name.replace("_", "-"): value for name, value in settings.items()}
        files = {"ssl-cert": tls.certificate, "ssl-key": tls.key} if tls else {}
        if ca is not None:
            files["ssl-ca"] = ca
        for name, source in files.items():
            path = self.give(Path(shutil.copy(source, self.folder / f"{name}.pem")))
            self._settings[name] = str(path)
        if tls is None:
            self._settings["skip-ssl"] = "1"

    def __enter__(self) -> Self:
        if not self.data.exists():
            self._initialize()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def _install(self) -> None:
        install = find_program("mariadb-install-db")
        assert install is not None
        self.run([
            install, "--no-defaults", f"--datadir={self.data}", "--auth-root-authentication-method=normal",
            "--skip-test-db", "--innodb-log-file-size=16M", f"--tmpdir={self.folder}",
        ])  # fmt: skip

    def _initialize(self) -> None:
        self.fill(self.data, self._install)
        self.start()
        self.administrate(
            f"CREATE USER '{USER}'@'%' IDENTIFIED BY '{PASSWORD}'",
            f"CREATE DATABASE {DATABASE}",
            f"GRANT ALL ON {DATABASE}.* TO '{USER}'@'%'",
            database=None,
        )

    def start(self) -> None:
        """Start the server, again after a kill too."""
        if self.is_running:
            return
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        places = [f"--datadir={self.data}", f"--socket={self.socket}", f"--port={self.port}"]
        # Each that starts deletes all temporary tables in its tmpdir: another's too, which then ends with a SIGSEGV.
        places += [f"--pid-file={self.folder / 'mariadb.pid'}", f"--tmpdir={self.folder}"]
        self.launch([self._program, "--no-defaults", *places, *settings])
        wait_until(self._is_answering, within_seconds=START_SECONDS, what=f"MariaDB to start:\n{self.log}")

    def make_url(self, query: str = "", *, port: int | None = None, database: str = DATABASE) -> str:
        """Return the URL to give to the code under test, through the proxy on ``port`` where there is one."""
        return make_url(port or self.port, query=query, database=database)

    def make_database(self, name: str) -> None:
        """Make one more empty database that the code under test may do everything in."""
        self.administrate(f"CREATE DATABASE {name} CHARACTER SET utf8mb4", f"GRANT ALL ON {name}.* TO '{USER}'@'%'")

    def administrate(self, *statements: str, database: str | None = DATABASE) -> list[tuple[Any, ...]]:
        """Run ``statements`` as root over the socket, past the code under test, and return the last one's rows."""
        connection = pymysql.connect(
            unix_socket=str(self.socket),
            user="root",
            database=database,
            autocommit=True,
            charset="utf8mb4",
            ssl_disabled=True,
        )
        try:
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
                return list(cursor.fetchall())
        finally:
            connection.close()

    def _is_answering(self) -> bool:
        if not self.is_running:
            raise RuntimeError(f"MariaDB ended at once:\n{self.log}")
        try:
            # PyMySQL leaves a socket open that it could not connect.
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(str(self.socket))
            self.administrate("SELECT 1", database=None)
        except (OSError, pymysql.err.OperationalError):
            return False
        return True


def make_url(*ports: int, query: str = "", database: str = DATABASE) -> str:
    """Return a URL of several servers on this machine, in that order."""
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    return f"mysql://{USER}:{URL_PASSWORD}@{hosts}/{database}{'?' if query else ''}{query}"
