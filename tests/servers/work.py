"""What the tests make a database do."""

from __future__ import annotations

import sqlalchemy as sa

IS_POSTGRES = "postgresql"


def insert(engine: sa.Engine, number: int) -> int:
    """Store ``number`` in a transaction of its own."""
    with engine.connect().execution_options(is_write=True) as connection:
        connection.execute(sa.text("INSERT INTO entries VALUES (:number)"), {"number": number})
        connection.commit()
    return number


def read_numbers(engine: sa.Engine) -> list[int]:
    """Return what is stored, sorted."""
    with engine.connect() as connection:
        return list(connection.execute(sa.text("SELECT number FROM entries ORDER BY number")).scalars())


def get_connection_id(connection: sa.Connection) -> int:
    """Return the number that the server has given to this connection."""
    function = "pg_backend_pid" if connection.dialect.name == IS_POSTGRES else "connection_id"
    return int(connection.execute(sa.text(f"SELECT {function}()")).scalar_one())


def end_connection(engine: sa.Engine, connection_id: int) -> str:
    """Return the statement with which an administrator ends a connection; PostgreSQL answers when it has ended."""
    is_postgres = engine.dialect.name == IS_POSTGRES
    return f"SELECT pg_terminate_backend({connection_id}, 5000)" if is_postgres else f"KILL {connection_id}"


def sleep_statement(engine: sa.Engine, seconds: float) -> str:
    """Return a statement that keeps the server busy for so long."""
    return f"SELECT {'pg_sleep' if engine.dialect.name == IS_POSTGRES else 'sleep'}({seconds})"


def find_is_answering(engine: sa.Engine) -> bool:
    """Say whether a read goes through now."""
    try:
        read_numbers(engine)
    except Exception:  # noqa: BLE001 - any failure is a no
        return False
    return True
