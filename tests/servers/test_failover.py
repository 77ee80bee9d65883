"""Servers that stop taking writes, and others that begin to."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from app.database import CommitOutcomeUnknown, DatabaseUnavailable, make_engine, parse_database_url, probe, run_again
from gatehouse.testing.servers import mariadb, postgres
from gatehouse.testing.servers.waiting import wait_until

from .conftest import MARIADB, POSTGRES, make_server
from .work import insert, read_numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from .conftest import Server

logger = logging.getLogger(__name__)

RECOVERY_SECONDS = 3.0
RESUME_SECONDS = 2.0
QUERY = "statement_timeout=2&connect_timeout=1"


def set_read_only(server: Server, *, is_read_only: bool) -> None:
    """Demote the server, or promote it, without a restart."""
    if isinstance(server, postgres.Postgres):
        word = "on" if is_read_only else "off"
        server.administrate(f"ALTER SYSTEM SET default_transaction_read_only = {word}", "SELECT pg_reload_conf()")
        wait_until(
            lambda: server.execute("SHOW default_transaction_read_only") == [(word,)],
            within_seconds=5,
            what="the server to read its settings again",
        )
    else:
        server.administrate(f"SET GLOBAL read_only = {int(is_read_only)}")


def is_stored(engine: sa.Engine, number: int) -> bool:
    try:
        insert(engine, number)
    except DatabaseUnavailable:
        return False
    return True


def test_a_demoted_server_is_left_and_used_again_when_it_takes_writes(server: Server, engine: sa.Engine) -> None:
    insert(engine, 1)
    set_read_only(server, is_read_only=True)
    try:
        with pytest.raises(DatabaseUnavailable):
            run_again(lambda: insert(engine, 2))
        assert read_numbers(engine) == [1]
    finally:
        set_read_only(server, is_read_only=False)
    wait_until(lambda: is_stored(engine, 3), within_seconds=RECOVERY_SECONDS, what="writes to be taken again")
    assert read_numbers(engine) == [1, 3]


@pytest.fixture(params=[POSTGRES, MARIADB])
def two_servers(request: pytest.FixtureRequest) -> Iterator[tuple[Server, Server]]:
    with make_server(request.param) as one, make_server(request.param) as other:
        for server in (one, other):
            server.administrate("CREATE TABLE entries (number INT NOT NULL)")
            if isinstance(server, postgres.Postgres):
                server.administrate(f"ALTER TABLE entries OWNER TO {postgres.USER}")
        yield one, other


def make_url(*servers: Server) -> str:
    maker = postgres.make_url if isinstance(servers[0], postgres.Postgres) else mariadb.make_url
    return maker(*(server.port for server in servers), query=QUERY)


def count_rows(server: Server) -> int:
    return int(server.administrate("SELECT count(*) FROM entries")[0][0])


def test_of_two_hosts_the_one_that_takes_writes_is_used_wherever_it_stands(
    two_servers: tuple[Server, Server], connect: Callable[[str], sa.Engine]
) -> None:
    one, other = two_servers
    set_read_only(one, is_read_only=True)
    for number, order in enumerate([(one, other), (other, one)]):
        insert(connect(make_url(*order)), number)
    assert (count_rows(one), count_rows(other)) == (0, 2)


def test_when_the_roles_are_exchanged_the_engine_follows_within_one_call(
    two_servers: tuple[Server, Server], connect: Callable[[str], sa.Engine]
) -> None:
    one, other = two_servers
    set_read_only(other, is_read_only=True)
    engine = connect(make_url(one, other))
    insert(engine, 1)
    set_read_only(one, is_read_only=True)
    set_read_only(other, is_read_only=False)
    run_again(lambda: insert(engine, 2))
    assert (count_rows(one), count_rows(other)) == (1, 1)


def test_a_frozen_first_host_leaves_time_for_the_second(
    two_servers: tuple[Server, Server], connect: Callable[[str], sa.Engine]
) -> None:
    one, other = two_servers
    one.freeze()
    engine = connect(make_url(one, other))
    assert run_again(lambda: insert(engine, 1)) == 1
    assert count_rows(other) == 1


def test_no_host_that_takes_writes_is_an_unavailable_database(
    two_servers: tuple[Server, Server], connect: Callable[[str], sa.Engine]
) -> None:
    for server in two_servers:
        set_read_only(server, is_read_only=True)
    with pytest.raises(DatabaseUnavailable):
        insert(connect(make_url(*two_servers)), 1)


class Ledger:
    """Writers that keep on writing, and a list of what they were told is stored."""

    def __init__(self, engine: sa.Engine, *, writers: int) -> None:
        self.acknowledged: list[tuple[float, int]] = []
        self.unknown: list[int] = []
        self._engine = engine
        self._is_over = threading.Event()
        self._threads = [
            threading.Thread(target=self._write, args=(index * 1_000_000,), daemon=True) for index in range(writers)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(20)
        assert not any(thread.is_alive() for thread in self._threads)

    def count_since(self, instant: float) -> int:
        return sum(at > instant for at, _ in list(self.acknowledged))

    def _write(self, number: int) -> None:
        while not self._is_over.is_set():
            number += 1
            try:
                run_again(lambda stored=number: insert(self._engine, stored))  # type: ignore[misc] # a default binds it
            except CommitOutcomeUnknown:
                self.unknown.append(number)
            except DatabaseUnavailable:
                time.sleep(0.01)
            else:
                self.acknowledged.append((time.monotonic(), number))


@pytest.mark.server("postgresql")
@pytest.mark.parametrize("fault", ["kill", "freeze"])
def test_no_acknowledged_write_is_lost_when_a_standby_takes_over(fault: str) -> None:
    with postgres.Postgres() as primary:
        primary.execute("CREATE TABLE entries (number INT NOT NULL)")
        with primary.make_standby() as standby:
            primary.administrate("ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
            wait_until(
                lambda: primary.administrate("SELECT sync_state FROM pg_stat_replication") == [("sync",)],
                within_seconds=10,
                what="the standby to be synchronous",
            )
            engine = make_engine(parse_database_url(make_url(primary, standby)))
            with Ledger(engine, writers=4) as ledger:
                wait_until(lambda: ledger.count_since(0) > 200, within_seconds=20, what="some writes")
                primary.kill() if fault == "kill" else primary.freeze()
                broken_at = time.monotonic()
                standby.promote()
                promoted_at = time.monotonic()
                # Frozen connections have to run into their deadline first; killed ones are gone at once.
                within = RESUME_SECONDS if fault == "kill" else RESUME_SECONDS + 2
                seconds = wait_until(
                    lambda: ledger.count_since(promoted_at) > 0, within_seconds=within, what="writes to resume"
                )
                wait_until(lambda: ledger.count_since(promoted_at) > 200, within_seconds=20, what="some more writes")
            stored = {row[0] for row in standby.execute("SELECT number FROM entries")}
            duplicates = standby.execute("SELECT number FROM entries GROUP BY number HAVING count(*) > 1")
            engine.dispose()
            if fault == "freeze":
                primary.thaw()
    acknowledged = {number for _, number in ledger.acknowledged}
    logger.info(
        "%s: %d acknowledged, %d lost, %d unknown; promoted after %.2f s, writes resumed %.2f s after promotion",
        fault,
        len(acknowledged),
        len(acknowledged - stored),
        len(ledger.unknown),
        promoted_at - broken_at,
        seconds,
    )
    assert acknowledged - stored == set()
    assert stored - acknowledged <= set(ledger.unknown)
    assert duplicates == []


# --- looking at the database's health ---


def test_a_look_tells_well_from_away_and_never_waits_for_a_dead_server(server: Server, engine: sa.Engine) -> None:
    def has_state(state: str) -> Callable[[], bool]:
        return lambda: probe(engine) == state

    wait_until(has_state("ok"), within_seconds=RECOVERY_SECONDS, what="a good word")
    for break_server, mend_server in ((server.freeze, server.thaw), (server.kill, server.start)):
        break_server()
        waits = []
        for _ in range(10):
            begun_at = time.monotonic()
            assert probe(engine) == "away"
            waits.append(time.monotonic() - begun_at)
        # The best of several, because the machine may be busy with other things.
        assert min(waits) < 0.15
        mend_server()
        wait_until(has_state("ok"), within_seconds=RECOVERY_SECONDS, what="a good word again")


def test_a_look_tells_a_server_that_takes_no_writes(server: Server, engine: sa.Engine) -> None:
    set_read_only(server, is_read_only=True)
    try:
        wait_until(lambda: probe(engine) == "read_only", within_seconds=RECOVERY_SECONDS, what="the look to say so")
    finally:
        set_read_only(server, is_read_only=False)


def test_a_look_is_not_fooled_by_a_pool_that_is_used_up(server: Server, connect: Callable[[str], sa.Engine]) -> None:
    engine = connect(server.make_url("pool_size=1&max_overflow=0"))
    with contextlib.closing(engine.connect()) as connection:
        connection.execute(sa.text("SELECT 1"))
        wait_until(lambda: probe(engine) == "ok", within_seconds=RECOVERY_SECONDS, what="a good word")
