"""How long a write to the users waits while the migrations go from 0001 to the last one and back, at a million users.

Usage: python -m bench.migrations [postgresql|mariadb] [--users 1000000] [--reader SECONDS]

The migrations run in a process of their own, as an operator runs them. Meanwhile two clients change single users, each
change a transaction, and with --reader another one holds transactions of so many seconds open in which it read users.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any, Final

import psycopg2
import pymysql

from app.config import ROOT
from gatehouse.testing.databases import TEST_ENVIRON
from gatehouse.testing.servers import mariadb, postgres
from gatehouse.testing.servers.mariadb import MariaDb
from gatehouse.testing.servers.postgres import Postgres

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

WRITERS: Final = 2
SAMPLE: Final = 2000
FILL: Final = {
    "postgresql": """
        INSERT INTO users (id, email, name, is_active, created_at, updated_at)
        SELECT gen_random_uuid(), 'user' || n || '@example.com',
        initcap(substr(md5(n::text), 1, 6)) || ' ' || initcap(substr(md5((n % 9000)::text), 1, 8)), true,
        now() - n * interval '1 minute', now() FROM generate_series(1, {count}) n
    """,
    "mariadb": """
        INSERT INTO users (id, email, name, is_active, created_at, updated_at)
        SELECT replace(uuid(), '-', ''), concat('user', seq, '@example.com'),
        concat(substr(md5(seq), 1, 6), ' ', substr(md5(seq % 9000), 1, 8)), true,
        now(6) - interval seq minute, now(6) FROM seq_1_to_{count}
    """,
}
ANALYZE: Final = {"postgresql": "ANALYZE users", "mariadb": "ANALYZE TABLE users"}
COLUMNS: Final = "(id, email, name, is_active, created_at, updated_at)"


def connect(server: Postgres | MariaDb) -> Any:  # noqa: ANN401 - either driver's
    """Return a connection past the product."""
    if isinstance(server, Postgres):
        return psycopg2.connect(
            host="127.0.0.1", port=server.port, user=postgres.USER, password=postgres.PASSWORD, dbname=postgres.DATABASE
        )
    return pymysql.connect(
        host="127.0.0.1", port=server.port, user=mariadb.USER, password=mariadb.PASSWORD.encode(),
        database=mariadb.DATABASE, ssl_disabled=True,
    )  # fmt: skip


class Clients:
    """Writers, and a reader, that go on until the block is left."""

    def __init__(self, server: Postgres | MariaDb, *, reader_seconds: float) -> None:
        self._server = server
        self._reader_seconds = reader_seconds
        self._is_over = threading.Event()
        self._threads = [
            threading.Thread(
                target=self._write,
            )
            for _ in range(WRITERS)
        ]
        if reader_seconds:
            self._threads.append(threading.Thread(target=self._read))
        self.times: list[tuple[float, float]] = []

    def __enter__(self) -> Self:
        self._begun_at = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _write(self) -> None:
        connection = connect(self._server)
        cursor = connection.cursor()
        cursor.execute(f"SELECT id FROM users LIMIT {SAMPLE}")  # noqa: S608 - a constant
        keys = [row[0] for row in cursor.fetchall()]
        count = 0
        while not self._is_over.is_set():
            count += 1
            begun_at = time.monotonic()
            if count % 10:
                cursor.execute("UPDATE users SET last_login_at = now() WHERE id = %s", (keys[count % len(keys)],))
            else:
                key = uuid.uuid4()
                values = (str(key) if isinstance(self._server, Postgres) else key.hex, f"{key}@new.test")
                cursor.execute(f"INSERT INTO users {COLUMNS} VALUES (%s, %s, 'New', true, now(), now())", values)  # noqa: S608 - a constant
            connection.commit()
            self.times.append((time.monotonic() - begun_at, begun_at - self._begun_at))
            time.sleep(0.002)
        connection.close()

    def _read(self) -> None:
        connection = connect(self._server)
        cursor = connection.cursor()
        while not self._is_over.is_set():
            cursor.execute("SELECT id FROM users LIMIT 1")
            cursor.fetchall()
            self._is_over.wait(self._reader_seconds)
            connection.rollback()
            self._is_over.wait(1)
        connection.close()


def migrate(server: Postgres | MariaDb, *arguments: str) -> float:
    """Run Flask-Migrate's command and return how many seconds it took."""
    inherited = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME"}}
    environ = inherited | TEST_ENVIRON | {"DATABASE_URL": server.make_url(), "LOG_LEVEL": "WARNING"}
    begun_at = time.monotonic()
    subprocess.run([sys.executable, "-m", "flask", "--app", "run", "db", *arguments], cwd=ROOT, env=environ, check=True)
    return time.monotonic() - begun_at


def report(what: str, seconds: float, times: Sequence[tuple[float, float]]) -> None:
    """Print how the writes went."""
    ordered = sorted(taken for taken, _ in times)
    longest, at = max(times)
    figures = {"median": ordered[len(ordered) // 2], "99.9 %": ordered[int(len(ordered) * 0.999)], "longest": longest}
    shown = ", ".join(f"{name} {taken * 1000:.1f} ms" for name, taken in figures.items())
    print(f"{what}: {seconds:.1f} s; {len(times)} writes meanwhile, {shown}, begun after {at:.1f} s", flush=True)


def main() -> None:
    """Measure the database that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("database", choices=("postgresql", "mariadb"))
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--reader", type=float, default=0.0, metavar="SECONDS")
    arguments = parser.parse_args()
    is_postgres = arguments.database == "postgresql"
    with (
        Postgres(shared_buffers="512MB", fsync="on") if is_postgres else MariaDb(innodb_buffer_pool_size="1G")
    ) as server:
        migrate(server, "upgrade", "0001")
        begun_at = time.monotonic()
        connection = connect(server)
        for statement in (
            FILL[arguments.database].format(count=arguments.users),
            "COMMIT",
            ANALYZE[arguments.database],
        ):
            connection.cursor().execute(statement)
        connection.commit()
        connection.close()
        print(f"{arguments.users} users stored in {time.monotonic() - begun_at:.1f} s", flush=True)
        for command in (("upgrade",), ("downgrade", "0001")):
            with Clients(server, reader_seconds=arguments.reader) as clients:
                time.sleep(1)
                seconds = migrate(server, *command)
            report(" ".join(command), seconds, clients.times)


if __name__ == "__main__":
    main()
