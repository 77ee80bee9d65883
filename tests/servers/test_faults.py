"""Servers that are killed, restarted, frozen, or cut off: what becomes of the work, and how it goes on."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from app.database import (
    CommitOutcomeUnknown,
    ConnectionLost,
    DatabaseUnavailable,
    lift_time_limits,
    run_again,
    time_limit,
)
from gatehouse.testing.servers.waiting import wait_until

from .conftest import MARIADB
from .harness.proxy import NO_FAULT, Fault
from .work import end_connection, find_is_answering, get_connection_id, insert, read_numbers, sleep_statement

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Server
    from .harness.proxy import Proxy

# The time within which a request is answered; the engines of these tests have shorter deadlines.
ANSWER_SECONDS = 5.0
RECOVERY_SECONDS = 3.0


def measure(call: Callable[[], object]) -> tuple[BaseException | None, float]:
    """Return what ``call`` raised, and how long it took."""
    begun_at = time.monotonic()
    try:
        call()
    except DatabaseUnavailable as error:
        return error, time.monotonic() - begun_at
    return None, time.monotonic() - begun_at


def sleep(engine: sa.Engine, seconds: float) -> None:
    with engine.connect() as connection:
        connection.execute(sa.text(sleep_statement(engine, seconds)))


def assert_nothing_leaked(engine: sa.Engine, server: Server) -> None:
    assert isinstance(engine.pool, sa.QueuePool)
    assert engine.pool.checkedout() == 0
    engine.dispose()

    def count() -> int:
        listing = {
            "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'gatehouse'",
            "mysql": "SELECT count(*) FROM information_schema.processlist WHERE user = 'gatehouse'",
        }
        return int(server.administrate(listing[engine.dialect.name])[0][0])

    wait_until(lambda: count() == 0, within_seconds=10, what="the server to have no connection of ours")


def test_a_killed_server_is_reported_and_used_again_when_it_is_back(server: Server, engine: sa.Engine) -> None:
    insert(engine, 1)
    server.kill()
    error, seconds = measure(lambda: insert(engine, 2))
    assert isinstance(error, ConnectionLost)
    assert seconds < ANSWER_SECONDS
    assert error.retry_after_seconds == 1
    server.start()
    wait_until(lambda: find_is_answering(engine), within_seconds=RECOVERY_SECONDS, what="the engine to recover")
    assert insert(engine, 3) == 3
    assert read_numbers(engine) == [1, 3]
    assert_nothing_leaked(engine, server)


def test_a_restart_between_two_requests_fails_neither(server: Server, engine: sa.Engine) -> None:
    insert(engine, 1)
    server.kill()
    server.start()
    assert insert(engine, 2) == 2


def test_a_connection_ended_at_rest_fails_nobody(server: Server, engine: sa.Engine) -> None:
    with engine.connect() as connection:
        first = get_connection_id(connection)
    server.administrate(end_connection(engine, first))
    with engine.connect() as connection:
        assert get_connection_id(connection) != first


def test_work_that_loses_its_connection_before_the_commit_is_run_again_once(server: Server, engine: sa.Engine) -> None:
    runs = []

    def unit() -> None:
        with engine.begin() as connection:
            connection.execute(sa.text("INSERT INTO entries VALUES (1)"))
            runs.append(get_connection_id(connection))
            if len(runs) == 1:
                server.administrate(end_connection(engine, runs[0]))
            connection.execute(sa.text("INSERT INTO entries VALUES (2)"))

    run_again(unit)
    assert len(runs) == 2
    assert read_numbers(engine) == [1, 2]
    assert_nothing_leaked(engine, server)


def test_work_on_a_server_that_stays_away_ends_in_a_bounded_number_of_attempts(
    server: Server, engine: sa.Engine
) -> None:
    server.kill()
    runs = []

    def unit() -> None:
        runs.append(1)
        insert(engine, 1)

    with pytest.raises(DatabaseUnavailable):
        run_again(unit)
    assert 1 < len(runs) < 10


def test_a_frozen_server_holds_nobody_beyond_the_deadline_and_is_used_again_when_it_thaws(
    server: Server, engine: sa.Engine
) -> None:
    results: list[tuple[BaseException | None, float]] = []

    def ask(count: int) -> None:
        results.extend(measure(lambda: run_again(lambda: read_numbers(engine))) for _ in range(count))

    ask(1)
    server.freeze()
    threads = [threading.Thread(target=ask, args=(2,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 17
    assert all(isinstance(error, DatabaseUnavailable) for error, _ in results[1:])
    assert max(seconds for _, seconds in results) < ANSWER_SECONDS
    server.thaw()
    wait_until(lambda: find_is_answering(engine), within_seconds=RECOVERY_SECONDS, what="the engine to recover")
    assert_nothing_leaked(engine, server)


def test_while_one_request_tries_a_frozen_server_the_others_are_told_at_once(
    server: Server, connect: Callable[[str], sa.Engine]
) -> None:
    engine = connect(server.make_url("connect_timeout=4"))
    server.freeze()
    connector: Any = engine.pool._creator
    connector.note_loss(is_timeout=True)
    attempt = threading.Thread(target=measure, args=(lambda: read_numbers(engine),))
    attempt.start()
    # Whoever asked before it has begun would be the one that tries.
    wait_until(connector._attempt.locked, within_seconds=2, what="the attempt to begin")
    assert measure(lambda: read_numbers(engine))[1] < 1
    assert attempt.is_alive()
    server.thaw()
    attempt.join()
    assert find_is_answering(engine)


def test_a_frozen_commit_is_of_unknown_outcome_and_never_repeated(server: Server, engine: sa.Engine) -> None:
    runs = []

    def unit() -> None:
        runs.append(1)
        with engine.begin() as connection:
            connection.execute(sa.text("INSERT INTO entries VALUES (1)"))
            server.freeze()

    with pytest.raises(CommitOutcomeUnknown):
        run_again(unit)
    assert len(runs) == 1
    server.thaw()
    wait_until(lambda: find_is_answering(engine), within_seconds=RECOVERY_SECONDS, what="the engine to recover")
    assert read_numbers(engine) in ([], [1])


def test_a_commit_whose_answer_is_cut_off_was_stored_and_is_not_repeated(
    proxy: Proxy, proxied_engine: sa.Engine
) -> None:
    runs = []

    def unit() -> None:
        runs.append(1)
        with proxied_engine.begin() as connection:
            connection.execute(sa.text("INSERT INTO entries VALUES (1)"))
            proxy.fault = Fault(is_cut_before_reply=True)

    with pytest.raises(CommitOutcomeUnknown):
        run_again(unit)
    proxy.fault = NO_FAULT
    assert len(runs) == 1
    assert read_numbers(proxied_engine) == [1]


def test_work_whose_statement_is_cut_off_in_mid_reply_is_run_again(proxy: Proxy, proxied_engine: sa.Engine) -> None:
    insert(proxied_engine, 1)
    read_numbers(proxied_engine)
    proxy.fault = Fault(cut_after_bytes=3)

    def unit() -> list[int]:
        try:
            return read_numbers(proxied_engine)
        finally:
            proxy.fault = NO_FAULT

    assert run_again(unit) == [1]


@pytest.mark.parametrize(
    "fault",
    [Fault(is_silent=True), Fault(bytes_per_piece=1, delay_seconds=0.2)],
    ids=["silent", "dripping"],
)
def test_no_way_of_being_slow_outlasts_the_deadline(proxy: Proxy, proxied_engine: sa.Engine, fault: Fault) -> None:
    read_numbers(proxied_engine)
    for is_new in (False, True):
        if is_new:
            proxied_engine.dispose()
        proxy.fault = fault
        with time_limit(2):
            error, seconds = measure(lambda: read_numbers(proxied_engine))
        assert isinstance(error, DatabaseUnavailable)
        assert seconds < 3
        proxy.fault = NO_FAULT
        wait_until(lambda: find_is_answering(proxied_engine), within_seconds=RECOVERY_SECONDS, what="recovery")


def test_a_refusing_door_opens_again(proxy: Proxy, proxied_engine: sa.Engine) -> None:
    read_numbers(proxied_engine)
    proxy.refuse()
    error, _ = measure(lambda: read_numbers(proxied_engine))
    assert isinstance(error, ConnectionLost)
    proxy.listen()
    wait_until(lambda: find_is_answering(proxied_engine), within_seconds=RECOVERY_SECONDS, what="recovery")


def test_a_statement_that_takes_too_long_is_ended_by_the_server_and_the_connection_stays(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        first = get_connection_id(connection)

    def oversleep() -> None:
        with engine.connect() as connection:
            connection.execute(sa.text(sleep_statement(engine, 30)))

    error, seconds = measure(oversleep)
    assert type(error) is DatabaseUnavailable
    assert seconds < 3
    with engine.connect() as connection:
        assert get_connection_id(connection) == first


def test_a_connection_that_somebody_else_makes_has_no_deadline_of_ours(server: Server, engine: sa.Engine) -> None:
    read_numbers(engine)
    server.administrate(sleep_statement(engine, 1.3))


def test_a_migration_may_take_its_time_and_its_connection_serves_nobody_else(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        lift_time_limits(connection)
        used = get_connection_id(connection)
        connection.execute(sa.text(sleep_statement(engine, 1.3)))
    with engine.connect() as connection:
        assert get_connection_id(connection) != used
        with pytest.raises(DatabaseUnavailable):
            connection.execute(sa.text(sleep_statement(engine, 30)))


def test_when_all_connections_are_taken_the_next_caller_is_told_soon(
    server: Server, connect: Callable[[str], sa.Engine]
) -> None:
    engine = connect(server.make_url("pool_size=1&max_overflow=0&pool_timeout=0.2"))
    with engine.connect() as connection:
        get_connection_id(connection)
        error, seconds = measure(lambda: read_numbers(engine))
    assert type(error) is DatabaseUnavailable
    assert seconds < 2
    assert find_is_answering(engine)


def test_nobody_waits_patiently_for_connections_that_show_no_sign_of_life(
    server: Server, connect: Callable[[str], sa.Engine]
) -> None:
    engine = connect(server.make_url("pool_size=1&max_overflow=0&pool_timeout=10"))
    engine.dispose()  # the pool that takes its place is as impatient
    with engine.connect() as connection:
        get_connection_id(connection)
        for most_seconds in (2.0, 0.4):
            error, seconds = measure(lambda: read_numbers(engine))
            assert type(error) is DatabaseUnavailable
            assert seconds < most_seconds
    assert find_is_answering(engine)


def test_whoever_waits_while_others_come_and_go_gets_a_connection(
    server: Server, connect: Callable[[str], sa.Engine]
) -> None:
    engine = connect(server.make_url("pool_size=2&max_overflow=0&pool_timeout=10"))
    with engine.connect() as held:
        get_connection_id(held)
        with ThreadPoolExecutor(6) as pool:
            waiting = [pool.submit(sleep, engine, 0.3) for _ in range(6)]
        assert [future.exception() for future in waiting] == [None] * 6


@pytest.mark.parametrize("server", [MARIADB], indirect=True)
def test_a_table_that_is_full_is_a_fault_of_the_server_s(engine: sa.Engine) -> None:
    def fill() -> None:
        with engine.begin() as connection:
            connection.execute(sa.text("SET SESSION max_heap_table_size = 16384"))
            connection.execute(sa.text("CREATE TEMPORARY TABLE full (text CHAR(200)) ENGINE=MEMORY"))
            for _ in range(200):
                connection.execute(sa.text("INSERT INTO full VALUES ('x')"))

    with pytest.raises(DatabaseUnavailable):
        fill()


def test_two_transactions_that_deadlock_both_get_through(server: Server, connect: Callable[[str], sa.Engine]) -> None:
    # PostgreSQL looks for deadlocks after one second, so that statements must be given longer.
    engine = connect(server.make_url())
    for number in (1, 2):
        insert(engine, number)
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE entries ADD PRIMARY KEY (number)"))
    meeting = threading.Barrier(2)
    runs: list[int] = []
    failures: list[BaseException] = []

    def update(first: int, second: int) -> None:
        is_first_run = True

        def unit() -> None:
            nonlocal is_first_run
            runs.append(first)
            with engine.begin() as connection:
                connection.execute(sa.text("UPDATE entries SET number = number WHERE number = :n"), {"n": first})
                if is_first_run:
                    is_first_run = False
                    meeting.wait(5)
                connection.execute(sa.text("UPDATE entries SET number = -number WHERE number = :n"), {"n": second})

        try:
            run_again(unit)
        except BaseException as error:  # noqa: BLE001 - told to the test
            failures.append(error)

    threads = [threading.Thread(target=update, args=pair) for pair in ((1, 2), (2, 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(runs) == 3


def test_a_host_s_name_is_tried_at_each_of_its_addresses(server: Server, connect: Callable[[str], sa.Engine]) -> None:
    assert insert(connect(server.make_url().replace("127.0.0.1", "localhost")), 1) == 1


def test_a_host_without_an_address_is_a_database_that_is_away(
    server: Server, connect: Callable[[str], sa.Engine]
) -> None:
    error, seconds = measure(lambda: insert(connect(server.make_url().replace("127.0.0.1", "db.invalid")), 1))
    assert isinstance(error, ConnectionLost)
    assert seconds < ANSWER_SECONDS


def test_no_error_tells_the_password(server: Server, engine: sa.Engine, connect: Callable[[str], sa.Engine]) -> None:
    insert(engine, 1)
    server.freeze()
    error, _ = measure(lambda: insert(engine, 2))
    server.thaw()
    wrong = connect(server.make_url().replace("@127", "wrong@127"))
    refusal, _ = measure(lambda: insert(wrong, 1))
    seen = []
    for each in (error, refusal):
        assert each is not None
        cause: BaseException | None = each
        while cause is not None:
            seen += [str(cause), repr(cause), repr(cause.args)]
            cause = cause.__cause__ or cause.__context__
    seen += [repr(engine), str(engine.url), repr(wrong.url)]
    assert not [text for text in seen if "p@ss" in text or "p%40ss" in text]
