from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from app.database import READS_ONCE, make_database_file, make_engine, parse_database_url

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    target = parse_database_url(f"sqlite:///{tmp_path}/app.db")
    make_database_file(target)
    engine = make_engine(target)
    with engine.connect().execution_options(is_write=True) as connection:
        connection.execute(sa.text("CREATE TABLE entries (number INTEGER NOT NULL)"))
        connection.commit()
    yield engine
    engine.dispose()


def list_statements(engine: sa.Engine) -> list[str]:
    sent: list[str] = []

    @sa.event.listens_for(engine, "connect", insert=True)
    def trace(connection: object, _record: object) -> None:
        connection.set_trace_callback(sent.append)  # type: ignore[attr-defined] # SQLite's own

    return sent


def read_once(engine: sa.Engine) -> list[int]:
    with engine.connect().execution_options(**{READS_ONCE: True}) as connection:
        return list(connection.scalars(sa.text("SELECT number FROM entries")))


def test_a_read_of_one_statement_sends_nothing_else(engine: sa.Engine) -> None:
    engine.dispose()
    sent = list_statements(engine)
    read_once(engine)
    sent.clear()
    read_once(engine)
    assert sent == ["SELECT number FROM entries"]


def test_a_read_of_one_statement_cannot_write(engine: sa.Engine) -> None:
    with (
        engine.connect().execution_options(**{READS_ONCE: True}) as connection,
        pytest.raises(sa.exc.OperationalError, match="readonly"),
    ):
        connection.execute(sa.text("INSERT INTO entries VALUES (1)"))


def test_writes_and_reads_take_turns_on_one_connection(engine: sa.Engine) -> None:
    for number in range(3):
        with engine.connect().execution_options(is_write=True) as connection:
            connection.execute(sa.text("INSERT INTO entries VALUES (:number)"), {"number": number})
            connection.commit()
        assert read_once(engine) == list(range(number + 1))
        with engine.connect() as connection:
            assert connection.scalar(sa.text("SELECT count(*) FROM entries")) == number + 1
