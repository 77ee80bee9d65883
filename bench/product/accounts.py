"""Users and sessions by the million, and the cookies of the sessions."""

from __future__ import annotations

import datetime
import functools
import hashlib
import itertools
from typing import TYPE_CHECKING, Any, Final

from app import create_app
from app.config import Settings
from app.database import lift_time_limits, make_engine, parse_database_url
from app.security import make_csrf_token, start_browser_session

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import sqlalchemy as sa
    from flask import Flask

BATCH: Final = 10_000
INTO: Final = {
    "users": ("INSERT INTO users (id, email, name, search_text, password_hash, is_active, created_at, updated_at)"),
    "user_roles": "INSERT INTO user_roles (user_id, role_id)",
    "sessions": (
        "INSERT INTO sessions (id, user_id, token_hash, ip, user_agent, is_remembered,"
        " created_at, last_seen_at, authenticated_at, expires_at)"
    ),
}
# User n: keys rise with time, as the product's do; one role, the one that everybody gets; one session.
ROWS: Final[dict[str, dict[str, str]]] = {
    "postgresql": {
        "users": """
            SELECT ('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'user' || n || '@example.com',
            'User ' || n, ' xxuser xx' || n || ' xxuser' || n || ' xxexample xxcom', '{password_hash}', true,
            timestamptz '2020-01-01 00:00+00' + n * interval '1 minute', now() FROM generate_series(1, {count}) n
        """,
        "user_roles": "SELECT users.id, roles.id FROM users, roles WHERE roles.name = 'user'",
        "sessions": """
            SELECT ('01910000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid,
            ('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid,
            encode(sha256(('token-' || n)::bytea), 'hex'), '127.0.0.1', 'bench', true,
            now(), now(), now(), now() + interval '1 day' FROM generate_series(1, {count}) n
        """,
    },
    "mysql": {
        "users": """
            SELECT concat('01900000000070008000', lpad(lower(hex(seq)), 12, '0')), concat('user', seq, '@example.com'),
            concat('User ', seq), concat(' xxuser xx', seq, ' xxuser', seq, ' xxexample xxcom'), '{password_hash}',
            true, timestamp '2020-01-01 00:00' + interval seq minute, utc_timestamp(6) FROM seq_1_to_{count}
        """,
        "user_roles": "SELECT users.id, roles.id FROM users, roles WHERE roles.name = 'user'",
        "sessions": """
            SELECT concat('01910000000070008000', lpad(lower(hex(seq)), 12, '0')),
            concat('01900000000070008000', lpad(lower(hex(seq)), 12, '0')),
            sha2(concat('token-', seq), 256), '127.0.0.1', 'bench', true, utc_timestamp(6), utc_timestamp(6),
            utc_timestamp(6), utc_timestamp(6) + interval 1 day FROM seq_1_to_{count}
        """,
    },
}
ADMIN: Final = "SELECT users.id, roles.id FROM users, roles WHERE users.email = '{email}' AND roles.name = 'admin'"
ANALYZE: Final = {"postgresql": "ANALYZE", "mysql": "ANALYZE TABLE users, sessions, user_roles", "sqlite": "ANALYZE"}


def make_token(number: int) -> str:
    """Return the token of the session of that user."""
    return f"token-{number}"


def make_email(number: int) -> str:
    """Return the address of that user."""
    return f"user{number}@example.com"


def fill(url: str, count: int, *, password_hash: str) -> None:
    """Store so many users, each with a session, in an empty migrated database; the last one is an administrator."""
    engine = make_engine(parse_database_url(url))
    kind = engine.dialect.name
    with engine.execution_options(is_write=True).connect() as connection:
        lift_time_limits(connection)
        if kind == "sqlite":
            _fill_sqlite(connection, count, password_hash)
        else:
            for table, rows in ROWS[kind].items():
                connection.exec_driver_sql(f"{INTO[table]} {rows.format(count=count, password_hash=password_hash)}")
                connection.commit()
        connection.exec_driver_sql(f"{INTO['user_roles']} {ADMIN.format(email=make_email(count))}")
        connection.exec_driver_sql(ANALYZE[kind])
        connection.commit()
    engine.dispose()


def _fill_sqlite(connection: sa.Connection, count: int, password_hash: str) -> None:
    begun_at = datetime.datetime(2020, 1, 1)  # noqa: DTZ001 - as the column keeps it, in UTC
    now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    role_id = connection.exec_driver_sql("SELECT id FROM roles WHERE name = 'user'").scalar_one()
    seen, end = _write(now), _write(now + datetime.timedelta(days=1))

    def make_rows(number: int) -> dict[str, tuple[Any, ...]]:
        user_id = f"01900000000070008000{number:012x}"
        session_id = f"01910000000070008000{number:012x}"
        search_text = f" xxuser xx{number} xxuser{number} xxexample xxcom"
        created = _write(begun_at + datetime.timedelta(minutes=number))
        token_hash = hashlib.sha256(make_token(number).encode()).hexdigest()
        return {
            "users": (user_id, make_email(number), f"User {number}", search_text, password_hash, True, created, seen),
            "user_roles": (user_id, role_id),
            "sessions": (session_id, user_id, token_hash, "127.0.0.1", "bench", True, seen, seen, seen, end),
        }

    numbers = iter(range(1, count + 1))
    while batch := [make_rows(number) for number in itertools.islice(numbers, BATCH)]:
        for table, into in INTO.items():
            marks = ", ".join("?" * len(batch[0][table]))
            connection.exec_driver_sql(f"{into} VALUES ({marks})", [rows[table] for rows in batch])
        connection.commit()


def _write(instant: datetime.datetime) -> str:
    """Return an instant as SQLAlchemy keeps it in SQLite."""
    return instant.strftime("%Y-%m-%d %H:%M:%S.%f")


def make_cookies(environ: Mapping[str, str], numbers: Sequence[int]) -> list[str]:
    """Return the Cookie header of each of these users' sessions, as the product of ``environ`` signs it."""
    app = create_app(Settings.from_environ(environ))
    starts = (functools.partial(start_browser_session, make_token(number), is_remembered=True) for number in numbers)
    return [_sign(app, start)[0] for start in starts]


def make_csrf(environ: Mapping[str, str]) -> tuple[str, str]:
    """Return the Cookie header of somebody who is not signed in, and the CSRF token that goes with it."""
    return _sign(create_app(Settings.from_environ(environ)), make_csrf_token)


def _sign(app: Flask, change: Callable[[], str]) -> tuple[str, str]:
    """Return the Cookie header of a session after ``change``, and what that returned."""
    with app.test_request_context() as context:
        returned = change()
        response = app.response_class()
        app.session_interface.save_session(app, context.session, response)
        return response.headers["Set-Cookie"].partition(";")[0], returned
