"""Real servers for the tests of this folder, started once a run and put right again after each test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from flask_migrate import upgrade

from app import create_app
from app.config import Settings
from app.database import make_engine, parse_database_url
from app.extensions import db
from gatehouse.testing.databases import TEST_ENVIRON
from gatehouse.testing.servers import mariadb, postgres
from tests.cli.conftest import Operator

from .harness.proxy import Proxy
from .harness.serving import Process
from .harness.tls import Authority

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import sqlalchemy as sa
    from flask import Flask

    from app.extending import Extension
    from gatehouse.testing.servers.mariadb import MariaDb
    from gatehouse.testing.servers.postgres import Postgres

    Server = Postgres | MariaDb

POSTGRES = pytest.param("postgresql", marks=pytest.mark.server("postgresql"))
MARIADB = pytest.param("mariadb", marks=pytest.mark.server("mariadb"))


def make_server(name: str) -> Server:
    """Return a new server of that name, not yet started."""
    return postgres.Postgres() if name == "postgresql" else mariadb.MariaDb()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def running_servers() -> Iterator[dict[str, Server]]:
    servers: dict[str, Server] = {}
    yield servers
    for server in servers.values():
        server.remove()


@pytest.fixture(params=[POSTGRES, MARIADB])
def server(request: pytest.FixtureRequest, running_servers: dict[str, Server]) -> Iterator[Server]:
    """A server with an empty table ``entries`` of numbers; the test may freeze or kill it."""
    name: str = request.param
    if name not in running_servers:
        running_servers[name] = make_server(name).__enter__()
    server = running_servers[name]
    server.start()
    server.administrate("DROP TABLE IF EXISTS entries", "CREATE TABLE entries (number INT NOT NULL)")
    if name == "postgresql":
        server.administrate(f"ALTER TABLE entries OWNER TO {postgres.USER}")
    yield server
    server.thaw()
    server.start()


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture(params=[POSTGRES, MARIADB])
def proxied_app(request: pytest.FixtureRequest) -> Iterator[tuple[Flask, Proxy]]:
    """The product on a server behind a proxy."""
    with make_server(request.param) as server, Proxy(server.port) as proxy:
        url = server.make_url(port=proxy.port)
        app = create_app(Settings.from_environ(TEST_ENVIRON | {"DATABASE_URL": url}))
        with app.app_context():
            upgrade()
            engine = db.engine
        # The connection of the migrations has been set up in other ways.
        engine.dispose()
        yield app, proxy
        engine.dispose()


@pytest.fixture
def connect() -> Iterator[Callable[[str], sa.Engine]]:
    """Make an engine on a URL; it is disposed of after the test."""
    engines = []

    def make(url: str) -> sa.Engine:
        engines.append(make_engine(parse_database_url(url)))
        return engines[-1]

    yield make
    for engine in engines:
        engine.dispose()


@pytest.fixture
def engine(server: Server, connect: Callable[[str], sa.Engine]) -> sa.Engine:
    """An engine on the server, with deadlines short enough to wait for in a test."""
    return connect(server.make_url("statement_timeout=1&connect_timeout=1&pool_timeout=0.5"))


@pytest.fixture
def proxied_engine(server: Server, proxy: Proxy, connect: Callable[[str], sa.Engine]) -> sa.Engine:
    """The same through a proxy."""
    return connect(server.make_url("statement_timeout=1&connect_timeout=1&pool_timeout=0.5", port=proxy.port))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Start the server of ``tiny.py``; it is killed after the test."""
    started: list[Process] = []

    def start(**changes: Any) -> Process:
        started.append(Process(tmp_path, **changes))
        return started[-1]

    yield start
    for process in started:
        process.kill()


@pytest.fixture
def operate(make_database: Callable[..., str]) -> Iterator[Callable[..., Operator]]:
    """Return an operator of the product with the extensions given, all on one database."""
    url = make_database(is_migrated=False)
    engines = []

    def operate(*extensions: Extension) -> Operator:
        app = create_app(Settings.from_environ(TEST_ENVIRON | {"DATABASE_URL": url}), extensions)
        engines.append(app.extensions["database"].kw["bind"])
        return Operator(app)

    yield operate
    for engine in engines:
        engine.dispose()
