from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import threading
import warnings
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from app.database import DatabaseUnavailable, make_database_file, make_engine, parse_database_url, probe
from app.database.probe import PROBE

if TYPE_CHECKING:
    from pathlib import Path

PROCESSES = 2
WRITERS = 4
TRANSACTIONS = 150


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/new/folder/app.db"
    make_database_file(parse_database_url(url))
    return url


def create_counters(url: str) -> None:
    engine = make_engine(parse_database_url(url))
    with engine.connect().execution_options(is_write=True) as connection:
        connection.execute(sa.text("CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL)"))
        connection.execute(sa.text("INSERT INTO counters VALUES ('shared', 0)"))
        connection.commit()
    engine.dispose()


def write_many(url: str, failures: multiprocessing.Queue[str], transactions: int) -> None:
    """Each transaction reads, then writes what it read plus one: the case that deferred transactions lose."""
    engine = make_engine(parse_database_url(url))

    def write() -> None:
        for _ in range(transactions):
            try:
                with engine.connect().execution_options(is_write=True) as connection:
                    value = connection.execute(sa.text("SELECT value FROM counters")).scalar_one()
                    connection.execute(sa.text("UPDATE counters SET value = :value"), {"value": value + 1})
                    connection.commit()
            except sa.exc.SQLAlchemyError as error:
                failures.put(str(error))

    threads = [threading.Thread(target=write) for _ in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    engine.dispose()


def run_writers(url: str, transactions: int = TRANSACTIONS) -> list[str]:
    context = multiprocessing.get_context("spawn")
    failures: multiprocessing.Queue[str] = context.Queue()
    processes = [context.Process(target=write_many, args=(url, failures, transactions)) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    found = []
    while not failures.empty():
        found.append(failures.get())
    return found


def test_two_processes_with_four_writers_each_never_see_a_locked_database_nor_lose_an_update(url: str) -> None:
    create_counters(url)
    assert run_writers(url) == []
    with make_engine(parse_database_url(url)).connect() as connection:
        value = connection.execute(sa.text("SELECT value FROM counters")).scalar_one()
    assert value == PROCESSES * WRITERS * TRANSACTIONS


def test_the_file_is_in_wal_mode_with_foreign_keys_on_and_durable_commits(url: str) -> None:
    engine = make_engine(parse_database_url(url))
    with engine.connect() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "foreign_keys", "synchronous", "busy_timeout")
        }
    engine.dispose()
    assert pragmas == {"journal_mode": "wal", "foreign_keys": 1, "synchronous": 2, "busy_timeout": 4000}


def test_a_reader_keeps_its_snapshot_and_waits_for_no_writer(url: str) -> None:
    create_counters(url)
    engine = make_engine(parse_database_url(url + "?busy_timeout=0.1"))
    count = sa.text("SELECT value FROM counters")
    with engine.connect() as reader, engine.connect().execution_options(is_write=True) as writer:
        assert reader.execute(count).scalar_one() == 0
        writer.execute(sa.text("UPDATE counters SET value = 1"))
        assert reader.execute(count).scalar_one() == 0
        writer.commit()
        assert reader.execute(count).scalar_one() == 0
        reader.rollback()
        assert reader.execute(count).scalar_one() == 1
    engine.dispose()


def test_a_write_outside_a_write_transaction_is_refused_at_once(url: str) -> None:
    create_counters(url)
    engine = make_engine(parse_database_url(url))
    with engine.connect() as connection, pytest.raises(sa.exc.OperationalError, match="readonly"):
        connection.execute(sa.text("UPDATE counters SET value = 1"))
    with engine.connect().execution_options(is_write=True) as connection:
        connection.execute(sa.text("UPDATE counters SET value = 1"))
        connection.commit()
    engine.dispose()


def test_a_first_start_waits_for_whoever_holds_the_file(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    holder.execute("CREATE TABLE t (n)")
    holder.execute("BEGIN EXCLUSIVE")
    let_go = threading.Timer(0.2, holder.execute, ["COMMIT"])
    let_go.start()
    engine = make_engine(parse_database_url(f"sqlite:///{path}"))
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
    let_go.join()
    engine.dispose()
    holder.close()


def test_a_writer_that_waits_too_long_is_told_that_the_database_is_busy(url: str) -> None:
    create_counters(url)
    engine = make_engine(parse_database_url(url + "?busy_timeout=0.1"))
    with (
        engine.connect().execution_options(is_write=True) as first,
        engine.connect().execution_options(is_write=True) as second,
    ):
        first.execute(sa.text("UPDATE counters SET value = 1"))
        with pytest.raises(DatabaseUnavailable):
            second.execute(sa.text("UPDATE counters SET value = 2"))
    engine.dispose()


def test_the_health_of_a_file_is_known(url: str) -> None:
    engine = make_engine(parse_database_url(url))
    assert probe(engine, timeout_ms=5000) == "ok"
    engine.dispose()


def test_a_forked_child_does_not_wait_for_a_look_of_its_parent_s(url: str) -> None:
    engine = make_engine(parse_database_url(url))
    lock = engine.get_execution_options()[PROBE]._lock
    with lock, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the child uses no thread of ours
        child = os.fork()
        if child == 0:
            signal.alarm(30)
            os._exit(0 if probe(engine, timeout_ms=10_000) == "ok" else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    engine.dispose()
