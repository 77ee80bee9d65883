"""Databases for the tests: fresh, migrated and cheap, on SQLite and on this process's own PostgreSQL and MariaDB."""

from __future__ import annotations

import itertools
import shutil
from typing import TYPE_CHECKING, Any, Protocol

import sqlalchemy as sa

from app import create_app
from app.cli.migrations import upgrade_database
from app.config import Settings
from app.database import DatabaseUnavailable, make_engine, parse_database_url
from app.models import Base

from .servers.mariadb import MariaDb
from .servers.postgres import Postgres

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from app.extending import Extension

CRASH_SECONDS = 10.0

TEST_ENVIRON = {
    "APP_ENV": "testing",
    "SECRET_KEY": "BiTba95no68AyToul_nmjjBls0KntX9yjihCMpK9aEEWRs2m",
    "ADMIN_EMAIL": "root@example.com",
    "RATELIMIT_ENABLED": "false",
    "LOG_LEVEL": "DEBUG",
}


class Databases(Protocol):
    """Where databases of one kind come from. None is in two hands at once."""

    def take(self, extensions: Sequence[Extension] = (), *, is_migrated: bool = True) -> str:
        """Return the URL of a database with what the migrations make, those of ``extensions`` too; or an empty one."""

    def put_back(self, url: str) -> None:
        """Take a database back that nothing is connected to any more."""

    def close(self) -> None:
        """Do away with all of them."""


class SqliteFiles:
    """SQLite files, copied from one that is migrated."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count(1)
        self._templates: dict[tuple[Extension, ...], Path] = {}

    def take(self, extensions: Sequence[Extension] = (), *, is_migrated: bool = True) -> str:
        """Return the URL of a new file."""
        path = self._make_path()
        if is_migrated:
            key = tuple(extensions)
            if key not in self._templates:
                template = self._make_path()
                migrate(f"sqlite:///{template}", extensions)
                self._templates[key] = template
            shutil.copy(self._templates[key], path)
        else:
            path.touch(mode=0o600)  # as the product makes it
        return f"sqlite:///{path}"

    def put_back(self, url: str) -> None:
        """Delete the file and what SQLite put beside it."""
        path = self._folder / url.rpartition("/")[2]
        for file in self._folder.glob(f"{path.name}*"):
            file.unlink()

    def close(self) -> None:
        """Leave the folder to pytest."""

    def _make_path(self) -> Path:
        return self._folder / f"{next(self._numbers)}.db"


class ServerEnded(Exception):
    """The tests' own server ended by itself. The tests after this one get a new one."""


class ServerDatabases:
    """Databases on a server of this process's own.

    One that was used is emptied and used again: deleting some rows takes a millisecond, making and migrating a database
    60 on PostgreSQL (10 from a template) and 800 on MariaDB.
    """

    def __init__(self, make_server: Callable[[], Postgres | MariaDb]) -> None:
        self._make_server = make_server
        self._numbers = itertools.count(1)
        self._ends: list[str] = []
        self._start()

    def _start(self) -> None:
        self._server = self._make_server().__enter__()
        self._clean: dict[tuple[Extension, ...], list[str]] = {}
        self._migrated: dict[str, _Migrated] = {}

    def take(self, extensions: Sequence[Extension] = (), *, is_migrated: bool = True) -> str:
        """Return the URL of a database."""
        self._replace_ended_server()
        clean = self._clean.setdefault(tuple(extensions), [])
        if is_migrated and clean:
            return clean.pop()
        name = f"test_{next(self._numbers)}"
        self._server.make_database(name)
        url = self._server.make_url(database=name)
        if is_migrated:
            migrate(url, extensions)
            self._migrated[url] = _Migrated(url, extensions)
        return url

    def put_back(self, url: str) -> None:
        """Empty the database, where it is one to be used again.

        Raises:
            DatabaseUnavailable: somebody has not let go of it.
            ServerEnded: once for each server that did so, with its last words.
        """
        self._replace_ended_server()
        if url in self._migrated:
            try:
                self._migrated[url].restore()
                self._clean[self._migrated[url].extensions].append(url)
            except DatabaseUnavailable:
                # One that crashes takes its time to write about it.
                if not self._server.has_ended(within_seconds=CRASH_SECONDS):
                    raise
                self._replace_ended_server()
        if self._ends:
            raise ServerEnded(self._ends.pop())

    def close(self) -> None:
        """End the server and delete its folder."""
        for migrated in self._migrated.values():
            migrated.engine.dispose()
        self._server.remove()

    def _replace_ended_server(self) -> None:
        if self._server.has_ended():
            self._ends.append(self._server.describe_end())
            self.close()
            self._start()


class _Migrated:
    """A migrated database that can be made again what it was."""

    def __init__(self, url: str, extensions: Sequence[Extension]) -> None:
        self.extensions = tuple(extensions)
        self.engine = make_engine(parse_database_url(f"{url}?statement_timeout=5")).execution_options(is_write=True)
        present = set(sa.inspect(self.engine).get_table_names())
        # Models of extensions that this database has not may be known to the process.
        self._tables = [table for table in Base.metadata.sorted_tables if table.name in present]
        with self.engine.connect() as connection:
            self._rows: dict[sa.Table, list[dict[str, Any]]] = {
                table: [dict(row) for row in connection.execute(sa.select(table)).mappings()] for table in self._tables
            }

    def restore(self) -> None:
        """Put every table back to the rows that the migrations made."""
        with self.engine.begin() as connection:
            for table in reversed(self._tables):
                connection.execute(sa.delete(table))
            for table in self._tables:
                if self._rows[table]:
                    connection.execute(sa.insert(table), self._rows[table])


def make_databases(kind: str, folder: Path) -> Databases:
    """Return where databases of ``kind`` come from: ``sqlite``, ``postgresql`` or ``mariadb``."""
    if kind == "postgresql":
        # They hold nothing but tests: a power cut may take it.
        return ServerDatabases(
            lambda: Postgres(
                synchronous_commit="off",
                full_page_writes="off",
                wal_level="minimal",
                max_wal_senders="0",
                log_connections="off",
            )
        )
    if kind == "mariadb":
        return ServerDatabases(
            lambda: MariaDb(innodb_flush_log_at_trx_commit="0", innodb_doublewrite="0", log_warnings="1")
        )
    return SqliteFiles(folder)


def migrate(url: str, extensions: Sequence[Extension] = ()) -> None:
    """Apply all migrations to the database, those of ``extensions`` too."""
    app = create_app(Settings.from_environ(TEST_ENVIRON | {"DATABASE_URL": url}), extensions)
    with app.app_context():
        upgrade_database()
        app.extensions["database"].kw["bind"].dispose()
