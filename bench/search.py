"""How long a page of the users' list and of its search takes at a million users, on each database.

Usage: python -m bench.search [sqlite|postgresql|mariadb] [--users 1000000]
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import itertools
import random
import statistics
import tempfile
import time
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from app.database import lift_time_limits, make_database_file, make_engine, parse_database_url
from app.database.schema import waiting_for_others
from app.database.types import ExactString, UtcDateTime
from app.search import SearchIndex, SearchText, choose_condition, make_search_text
from gatehouse.testing.servers.mariadb import MariaDb
from gatehouse.testing.servers.postgres import Postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE_SIZE: Final = 51
DEEP_PAGE: Final = 100
RUNS: Final = 7
BATCH: Final = 5000
QUERIES: Final = ("mar", "zul", "smi", "mar smi", "bab", "exa", "com", "ma", "a", "zzz")

users = sa.Table(
    "users",
    sa.MetaData(),
    sa.Column("id", sa.Uuid(), primary_key=True),
    sa.Column("name", ExactString(200), nullable=False),
    sa.Column("email", ExactString(254), unique=True, nullable=False),
    sa.Column("created_at", UtcDateTime(), nullable=False),
    sa.Column("search_text", SearchText(), nullable=False, server_default=""),
    sa.Index("ix_users_created_at_users_id", "created_at", "id"),
    sa.Index("ix_users_name_users_id", "name", "id"),
)
# An address is unique: with the key behind it, MySQL would walk no index.
ORDERS: Final[dict[str, tuple[sa.Column[Any], ...]]] = {
    "created_at": (users.c.created_at, users.c.id),
    "name": (users.c.name, users.c.id),
    "email": (users.c.email,),
}


def make_rows(count: int) -> Iterator[dict[str, Any]]:
    """Yield so many users, the same ones every time but for their keys."""
    chance = random.Random(1)  # noqa: S311 - not a secret

    def make_word(syllables: int) -> str:
        return "".join(chance.choice("bcdfghklmnprstvz") + chance.choice("aeiou") for _ in range(syllables)).title()

    firsts = [make_word(chance.choice((2, 2, 3))) for _ in range(1500)] + ["Maria", "Martin", "Marcus", "Marie"] * 8
    lasts = [make_word(chance.choice((2, 3, 3, 4))) for _ in range(8000)] + ["Martinez", "Marsh", "Smith"] * 5
    begun_at = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    for number in range(count):
        first, last = chance.choice(firsts), chance.choice(lasts)
        domain = chance.choice(("example.com", "mail.test", "corp.example"))
        email = f"{first}.{last}{number}@{domain}".lower()
        yield {
            "id": uuid7(),
            "name": f"{first} {last}",
            "email": email,
            "created_at": begun_at + datetime.timedelta(minutes=number),
            "search_text": make_search_text(f"{first} {last}", email),
        }


def fill(engine: sa.Engine, count: int) -> None:
    """Store the users and make their index."""
    writing = engine.execution_options(is_write=True)
    users.metadata.create_all(writing)
    rows = make_rows(count)
    with writing.connect() as connection:
        lift_time_limits(connection)
        while batch := list(itertools.islice(rows, BATCH)):
            connection.execute(users.insert(), batch)
            connection.commit()
        context = MigrationContext.configure(connection)
        begun_at = time.perf_counter()
        with context.begin_transaction(), waiting_for_others(op := Operations(context)):
            SearchIndex(users.name).create(op)
        connection.commit()
        print(f"index made in {time.perf_counter() - begun_at:.1f} s")
        statement = {"postgresql": "ANALYZE users", "mysql": "ANALYZE TABLE users", "sqlite": "ANALYZE"}
        connection.exec_driver_sql(statement[engine.dialect.name])
        connection.commit()


def find_page(engine: sa.Engine, order: str, query: str | None) -> None:
    """Read the first page of what ``query`` finds, or of all."""
    page = sa.select(users).order_by(*ORDERS[order])
    with Session(engine) as session:
        if query is not None:
            condition = choose_condition(
                session,
                query,
                page=page,
                page_size=PAGE_SIZE,
                column=users.c.search_text,
                key=users.c.id,
                has_index=True,
            )
            page = page.where(condition)
        session.execute(page.limit(PAGE_SIZE)).all()


def walk(engine: sa.Engine, order: str, *, pages: int, begin: sa.Row[Any] | None = None) -> list[float]:
    """Read so many pages, each from behind the one before, and return how long each took."""
    times = []
    last = begin
    with Session(engine) as session:
        for _ in range(pages):
            page = sa.select(users).order_by(*ORDERS[order])
            if last is not None:
                page = page.where(*begin_behind(order, last))
            begun_at = time.perf_counter()
            rows = session.execute(page.limit(PAGE_SIZE)).all()
            times.append((time.perf_counter() - begun_at) * 1000)
            last = rows[-1]
    return times


def begin_behind(order: str, row: sa.Row[Any]) -> list[sa.ColumnElement[bool]]:
    """Return the conditions of what comes after ``row``, as ``app/services/pages.py`` has them."""
    column, *key = ORDERS[order]
    value = getattr(row, column.key)
    if not key:
        return [column > value]
    return [column >= value, sa.or_(column > value, users.c.id > row.id)]


def measure(engine: sa.Engine) -> None:
    """Print the median of some runs of each page, in milliseconds."""
    print(f"{'':>12}", *(f"{order:>12}" for order in ORDERS))
    deep = [statistics.median(walk(engine, order, pages=DEEP_PAGE)[-1] for _ in range(RUNS)) for order in ORDERS]
    print(f"{f'page {DEEP_PAGE}':>12}", *(f"{milliseconds:9.1f} ms" for milliseconds in deep))
    print(f"{'half-way':>12}", *(f"{find_half_way(engine, order):9.1f} ms" for order in ORDERS))
    for query in (None, *QUERIES):
        times = [time_median(lambda order=order, query=query: find_page(engine, order, query)) for order in ORDERS]
        print(f"{query or '(all)':>12}", *(f"{milliseconds:9.1f} ms" for milliseconds in times), flush=True)


def find_half_way(engine: sa.Engine, order: str) -> float:
    """Return how long a page in the middle of the list takes."""
    with engine.connect() as connection:
        lift_time_limits(connection)
        count = connection.scalar(sa.select(sa.func.count()).select_from(users)) or 0
        begin = connection.execute(sa.select(users).order_by(*ORDERS[order]).offset(count // 2).limit(1)).one()
    return statistics.median(walk(engine, order, pages=RUNS, begin=begin))


def time_median(call: Any) -> float:  # noqa: ANN401 - a lambda with defaults
    """Return the median time of ``call`` in milliseconds."""
    times = []
    for _ in range(RUNS):
        begun_at = time.perf_counter()
        call()
        times.append((time.perf_counter() - begun_at) * 1000)
    return statistics.median(times)


def main() -> None:
    """Measure the database that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("database", choices=("sqlite", "postgresql", "mariadb"))
    parser.add_argument("--users", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        if arguments.database == "sqlite":
            url = f"sqlite:///{stack.enter_context(tempfile.TemporaryDirectory())}/app.db"
        elif arguments.database == "postgresql":
            url = stack.enter_context(Postgres(shared_buffers="512MB")).make_url()
        else:
            url = stack.enter_context(MariaDb(innodb_buffer_pool_size="1G")).make_url()
        target = parse_database_url(url)
        make_database_file(target)
        engine = make_engine(target)
        fill(engine, arguments.users)
        measure(engine)
        engine.dispose()


if __name__ == "__main__":
    main()
