"""How long the first page of the users takes beside a million of them, against the bare SQL for the same rows."""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING, Any, Final

import psycopg2
import pymysql
import sqlalchemy as sa

from bench.measure import interleave
from bench.product.servers import PAGE_SIZE, TITLES, Database, Servers

if TYPE_CHECKING:
    from bench.measure import Effort, Report

MOST: Final = 3.0
JOIN_NAMES: Final = {
    "sqlite": "group_concat(roles.name)",
    "postgresql": "string_agg(roles.name, ',')",
    "mariadb": "group_concat(roles.name)",
}
# One row more than the page has says whether there is another page.
QUERY: Final = """
    SELECT id, email, name, is_active, email_verified_at, created_at, updated_at, last_login_at,
    (SELECT {names} FROM user_roles JOIN roles ON roles.id = user_roles.role_id WHERE user_roles.user_id = users.id)
    FROM users ORDER BY created_at, id LIMIT {limit}
"""


def connect(database: Database) -> Any:  # noqa: ANN401 - each driver's own
    """Return a connection of the bare driver."""
    url = sa.make_url(database.url)
    if database.kind == "sqlite":
        return sqlite3.connect(str(url.database))
    assert url.port is not None
    if database.kind == "postgresql":
        connection = psycopg2.connect(
            host=url.host, port=url.port, user=url.username, password=url.password, dbname=url.database
        )
        connection.autocommit = True
        return connection
    return pymysql.connect(
        host=url.host, port=url.port, user=url.username, password=str(url.password), database=url.database,
        autocommit=True, ssl_disabled=True,
    )  # fmt: skip


def bench_user_page(report: Report, servers: Servers, kind: str, effort: Effort, *, users: int) -> None:
    """Measure an administrator's first page on one database."""
    database = servers.make_database(kind, users)
    query = QUERY.format(names=JOIN_NAMES[kind], limit=PAGE_SIZE + 1)
    connection = connect(database)
    cursor = connection.cursor()

    def read() -> float:
        begun_at = time.perf_counter()
        count = 0
        while (taken := time.perf_counter() - begun_at) < effort.seconds:
            cursor.execute(query)
            assert len(cursor.fetchall()) == PAGE_SIZE + 1
            count += 1
        return taken * 1000 / count

    with servers.serve_product(database, has_redis=kind != "sqlite") as product:
        load = servers.load_first_page(database, product)
        load.warm_up(connections=1)
        times = interleave(
            {"ours": lambda: 1000 / load.measure_rate(effort.seconds, connections=1), "bare": read},
            rounds=effort.rounds,
        )
    connection.close()
    report.compare(
        f"first page of {PAGE_SIZE} among {users:,} users, {TITLES[kind]}, against the bare SQL",
        ours=times["ours"],
        peer=times["bare"],
        most=MOST,
        unit=" ms",
    )
