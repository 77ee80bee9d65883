"""The servers that the tests start for themselves: they leave each other alone, and a crash is told and survived."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from app.database import make_engine, parse_database_url
from gatehouse.testing.databases import ServerDatabases, ServerEnded
from gatehouse.testing.servers.mariadb import MariaDb
from gatehouse.testing.servers.processes import list_tree

from .conftest import MARIADB, POSTGRES, make_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Server


@pytest.mark.server("mariadb")
def test_a_mariadb_has_a_folder_of_its_own_for_temporary_tables() -> None:
    with MariaDb() as server:
        assert server.administrate("SELECT @@tmpdir") == [(str(server.folder),)]


class TestAServerThatEndsByItself:
    """One death is one failure: told with the server's last words, and not by every test behind it."""

    @pytest.fixture(params=[POSTGRES, MARIADB])
    def kind(self, request: pytest.FixtureRequest) -> Any:
        return request.param

    @pytest.fixture
    def started(self) -> list[Server]:
        """The servers that ``databases`` has started so far."""
        return []

    @pytest.fixture
    def databases(self, kind: str, started: list[Server]) -> Iterator[ServerDatabases]:
        def make() -> Server:
            started.append(make_server(kind))
            return started[-1]

        databases = ServerDatabases(make)
        yield databases
        databases.close()

    def test_is_told_with_its_log_to_the_test_that_had_it_and_started_anew_for_the_next(
        self, databases: ServerDatabases, started: list[Server]
    ) -> None:
        url = databases.take()
        os.kill(started[0].pid, signal.SIGSEGV)
        assert started[0].has_ended(within_seconds=10)
        with pytest.raises(
            ServerEnded, match=r"ended by itself, by SIG(SEGV|ABRT)\. The end of its log:\n(.|\n)*ready"
        ):
            databases.put_back(url)
        assert not started[0].folder.exists()
        self.check_that_a_database_can_be_used(databases)

    def test_is_told_to_the_next_test_where_no_test_had_it(
        self, databases: ServerDatabases, started: list[Server]
    ) -> None:
        databases.put_back(databases.take())
        os.kill(started[0].pid, signal.SIGKILL)
        assert started[0].has_ended(within_seconds=10)
        url = databases.take()
        with pytest.raises(ServerEnded, match="by SIGKILL"):
            databases.put_back(url)
        self.check_that_a_database_can_be_used(databases)

    def test_is_told_where_it_ends_only_while_the_database_is_put_back(
        self, databases: ServerDatabases, started: list[Server]
    ) -> None:
        url = databases.take()
        started[0].freeze()
        pids = list_tree(started[0].pid)

        def end_all() -> None:
            for pid in pids:
                os.kill(pid, signal.SIGKILL)

        end = threading.Timer(0.3, end_all)
        end.start()
        with pytest.raises(ServerEnded, match="by SIGKILL"):
            databases.put_back(url)
        end.join()
        self.check_that_a_database_can_be_used(databases)

    @staticmethod
    def check_that_a_database_can_be_used(databases: ServerDatabases) -> None:
        url = databases.take()
        engine = make_engine(parse_database_url(url))
        with engine.connect() as connection:
            assert connection.scalar(sa.text("SELECT count(*) FROM roles")) == 2
        engine.dispose()
        databases.put_back(url)
