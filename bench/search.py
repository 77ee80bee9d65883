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

from app.database import lift_time_limits, make_engine
from app.database.search import SearchText, choose_condition, make_search_text
from app.database.search_index import create_search
from app.database.types import ExactString, UtcDateTime
from tests.servers.harness.mariadb import MariaDb
from tests.servers.harness.postgres import Postgres

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
ORDERS: Final = {
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
        with context.begin_transaction():
            create_search(Operations(context))
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
                session, query, page=page, page_size=PAGE_SIZE, column=users.c.search_text, key=users.c.id
            )
            page = page.where(condition)
        session.execute(page.limit(PAGE_SIZE)).all()


def find_deep_page(engine: sa.Engine, created_at: datetime.datetime) -> None:
    """Read the page that follows an instant."""
    page = sa.select(users).where(users.c.created_at > created_at).order_by(*ORDERS["created_at"])
    with Session(engine) as session:
        session.execute(page.limit(PAGE_SIZE)).all()


def measure(engine: sa.Engine) -> None:
    """Print the median of some runs of each page, in milliseconds."""
    beyond = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(minutes=DEEP_PAGE * PAGE_SIZE)
    print(f"{'page ' + str(DEEP_PAGE):>12}", f"{time_median(lambda: find_deep_page(engine, beyond)):6.1f} ms")
    print(f"{'':>12}", *(f"{order:>12}" for order in ORDERS))
    for query in (None, *QUERIES):
        times = [time_median(lambda order=order, query=query: find_page(engine, order, query)) for order in ORDERS]
        print(f"{query or '(all)':>12}", *(f"{milliseconds:9.1f} ms" for milliseconds in times), flush=True)


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
        engine = make_engine(url)
        fill(engine, arguments.users)
        measure(engine)
        engine.dispose()


if __name__ == "__main__":
    main()
