"""What the programs of a run work on: databases, Redis, and the product on them. Each is made when it is asked for."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.load import Load, compose_request, make_load
from bench.peers.verifications import PASSWORD, hash_password
from bench.product import accounts
from bench.programs import ROOT, THREADS, WORKERS, Program
from gatehouse.testing.servers.mariadb import MariaDb
from gatehouse.testing.servers.postgres import Postgres
from gatehouse.testing.servers.redis import running

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

KINDS: Final = ("postgresql", "mariadb", "sqlite")
TITLES: Final = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "mariadb": "MariaDB"}
# Three windows that nobody fills: what is measured is counting, not refusing.
LIMITS: Final = "100000/second;10000000/minute;100000000/hour"
# So many people ask in turn; each session notes once a minute that it was seen, as in life.
PEOPLE: Final = 100
USERS: Final = 1000
PAGE_SIZE: Final = 50


@dataclass(frozen=True)
class Peer:
    """A program that does the same work with other libraries, and the server that it runs under."""

    module: str
    command: tuple[str, ...]


_GRANIAN: Final = (
    "granian", "--interface", "wsgi", "--http", "1", "--no-ws", "--workers", str(WORKERS),
    "--blocking-threads", str(THREADS), "--host", "127.0.0.1", "--port", "{port}", "--log-level", "warning",
)  # fmt: skip
_UVICORN: Final = (
    "uvicorn", "--loop", "uvloop", "--http", "httptools", "--workers", str(WORKERS),
    "--host", "127.0.0.1", "--port", "{port}", "--log-level", "warning", "--no-access-log",
)  # fmt: skip
FLASK_SECURITY: Final = "Flask-Security-Too + Flask-Limiter"
PEERS: Final = {
    FLASK_SECURITY: Peer(
        "bench.peers.with_flask_security", (*_GRANIAN, "--factory", "bench.peers.with_flask_security:create_app")
    ),
    "Django + django-ratelimit": Peer("bench.peers.with_django", (*_GRANIAN, "bench.peers.with_django:application")),
    "fastapi-users + slowapi": Peer(
        "bench.peers.with_fastapi_users", (*_UVICORN, "bench.peers.with_fastapi_users:app")
    ),
}
PEERS_BIN: Final = ROOT / "bench" / ".venv" / "bin"


@dataclass(frozen=True)
class Database:
    """A database of the product with so many users, each of them signed in."""

    kind: str
    url: str
    users: int


class Servers:
    """The servers of a run. Use it in a ``with`` block: all are gone afterwards."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._databases: dict[tuple[str, int], Database] = {}

    def __enter__(self) -> Self:
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="gatehouse-bench-")))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @functools.cached_property
    def postgres(self) -> Postgres:
        """PostgreSQL, as it is in production: what it has committed is on the disk."""
        return self._stack.enter_context(
            Postgres(shared_buffers="512MB", fsync="on", log_connections="off", max_connections="200")
        )

    @functools.cached_property
    def mariadb(self) -> MariaDb:
        """MariaDB, likewise."""
        return self._stack.enter_context(
            MariaDb(innodb_buffer_pool_size="1G", innodb_flush_log_at_trx_commit="1", log_warnings="1")
        )

    @functools.cached_property
    def redis_url(self) -> str:
        """The URL of Redis."""
        return f"redis://127.0.0.1:{self._stack.enter_context(running()).port}/0"

    def make_empty(self, kind: str, name: str) -> str:
        """Make an empty database and return its URL."""
        if kind == "sqlite":
            return f"sqlite:///{self.folder / name}.db"
        server = self.postgres if kind == "postgresql" else self.mariadb
        server.make_database(name)
        return server.make_url(database=name)

    def make_database(self, kind: str, users: int = USERS) -> Database:
        """Return a database of the product with so many users, made once; ``PASSWORD`` is everybody's."""
        if (kind, users) in self._databases:
            return self._databases[kind, users]
        url = self.make_empty(kind, f"product_{users}")
        _run_flask("db", "upgrade", environ=make_environ(url))
        accounts.fill(url, users, password_hash=hash_password())
        return self._databases.setdefault((kind, users), Database(kind, url, users))

    def serve_product(self, database: Database, *, has_redis: bool, **settings: str) -> Program:
        """Return the product on that database, not yet started."""
        storage = self.redis_url if has_redis else "memory://"
        environ = make_environ(database.url, RATELIMIT_STORAGE_URI=storage, **settings)
        return Program([sys.executable, "run.py"], environ=environ, log=self._make_log("product"))

    def serve_floor(self, kind: str, *, has_redis: bool) -> Program:
        """Return the floor on a database of its own, not yet started."""
        environ = {"DATABASE_URL": self._make_floor_database(kind), "REDIS_URL": self.redis_url if has_redis else ""}
        return Program([sys.executable, "-m", "bench.peers.floor"], environ=environ, log=self._make_log("floor"))

    def serve_peer(self, name: str) -> Program:
        """Return a peer on PostgreSQL and Redis, not yet started."""
        command, *arguments = PEERS[name].command
        environ = self.make_peer_environ(name)
        return Program([str(PEERS_BIN / command), *arguments], environ=environ, log=self._make_log("peer"))

    @functools.cache  # noqa: B019 - lives as long as the run
    def make_peer_cookies(self, name: str) -> list[str]:
        """Store a peer's users and return the Cookie headers of those who are signed in."""
        command = [str(PEERS_BIN / "python"), "-m", PEERS[name].module, str(USERS), str(PEOPLE)]
        environ = dict(os.environ) | self.make_peer_environ(name)
        return subprocess.run(
            command, cwd=ROOT, env=environ, check=True, stdout=subprocess.PIPE, text=True
        ).stdout.split("\n")[:PEOPLE]

    @functools.cache  # noqa: B019 - likewise
    def make_peer_environ(self, name: str) -> dict[str, str]:
        """Return a peer's settings; it has a database of its own."""
        url = self.make_empty("postgresql", PEERS[name].module.rpartition(".")[2])
        return {"DATABASE_URL": url, "REDIS_URL": self.redis_url, "LIMITS": LIMITS}

    def load_peer(self, name: str, program: Program) -> Load:
        """Return the load of people who ask a peer who they are."""
        return self.load_path(program, "/users/me", self.make_peer_cookies(name))

    def load_users_me(self, database: Database, program: Program) -> Load:
        """Return the load of people who ask the product who they are."""
        return self.load_path(program, "/api/v1/users/me", make_cookies(database))

    def load_first_page(self, database: Database, program: Program) -> Load:
        """Return the load of an administrator who asks for the first page of the users."""
        cookies = accounts.make_cookies(make_environ(database.url), [database.users])
        return self.load_path(program, f"/api/v1/users?limit={PAGE_SIZE}", cookies)

    def load_sign_ins(self, database: Database, program: Program) -> Load:
        """Return the load of people who sign in one after the other, on devices that were never seen before."""
        cookie, csrf_token = accounts.make_csrf(make_environ(database.url))
        requests = [
            compose_request(
                "/api/v1/auth/login",
                f"Cookie: {cookie}",
                f"X-CSRF-Token: {csrf_token}",
                port=program.port,
                method="POST",
                body=json.dumps({"email": accounts.make_email(number), "password": PASSWORD}).encode(),
            )
            for number in range(1, database.users + 1)
        ]
        return make_load(self._make_file("load"), program, requests=requests, expected='"csrf_token"')

    def load_floor(self, program: Program) -> Load:
        """Return the load of the floor."""
        requests = [compose_request(f"/users/{number}", port=program.port) for number in range(1, PEOPLE + 1)]
        return make_load(self._make_file("load"), program, requests=requests, expected="@example.com")

    def load_path(self, program: Program, path: str, cookies: Sequence[str]) -> Load:
        """Return the load of people with these cookies who ask for ``path``, whose answer has their address."""
        requests = [compose_request(path, f"Cookie: {cookie}", port=program.port) for cookie in cookies]
        return make_load(self._make_file("load"), program, requests=requests, expected="@example.com")

    @functools.cache  # noqa: B019 - lives as long as the run
    def _make_floor_database(self, kind: str) -> str:
        url = self.make_empty(kind, "floor")
        environ = dict(os.environ) | {"DATABASE_URL": url}
        command = [sys.executable, "-m", "bench.peers.floor", "seed", str(USERS)]
        subprocess.run(command, cwd=ROOT, env=environ, check=True)
        return url

    def _make_log(self, name: str) -> Path:
        return self._make_file(f"{name}.log")

    def _make_file(self, name: str) -> Path:
        return self.folder / f"{len(list(self.folder.iterdir()))}-{name}"


def make_cookies(database: Database) -> list[str]:
    """Return the Cookie headers of people from all over the table."""
    numbers = [1 + number * database.users // PEOPLE for number in range(PEOPLE)]
    return accounts.make_cookies(make_environ(database.url), numbers)


def make_environ(database_url: str, **settings: str) -> dict[str, str]:
    """Return the product's settings: those of production, with limits that nobody fills and no line a request."""
    return {
        "APP_ENV": "production",
        "SECRET_KEY": "BiTba95no68AyToul_nmjjBls0KntX9yjihCMpK9aEEWRs2m",
        "ALLOWED_HOSTS": "127.0.0.1",
        "DATABASE_URL": database_url,
        "RATELIMIT_DEFAULT": LIMITS,
        "RATELIMIT_LOGIN": LIMITS,
        "RATELIMIT_LOGIN_ADDRESS": LIMITS,
        "WORKERS": str(WORKERS),
        "THREADS": str(THREADS),
        "SHUTDOWN_DELAY": "0",
        "LOG_LEVEL": "WARNING",
    } | settings


def _run_flask(*arguments: str, environ: Mapping[str, str]) -> None:
    command = [sys.executable, "-m", "flask", "--app", "run", *arguments]
    inherited = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG", "TMPDIR"}}
    subprocess.run(command, cwd=ROOT, env=inherited | dict(environ), check=True, capture_output=True)
