"""How transactions begin and end: a read of one statement is one round trip."""

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.pool import ConnectionPoolEntry

# The execution option of a connection whose every statement only reads and stands for itself.
READS_ONCE: Final = "reads_once"


def begin_only_where_needed(engine: sa.Engine) -> None:
    """Let connections to a server that read once do so without the round trips of a transaction.

    psycopg2 begins one by itself before the first statement, unless it is told not to. MySQL's sessions are in
    autocommit, so that transactions have to be begun in words.
    """
    is_postgres = engine.dialect.name == "postgresql"

    @sa.event.listens_for(engine, "begin")
    def on_begin(connection: sa.Connection) -> None:
        options = connection.get_execution_options()
        if options.get("isolation_level") == "AUTOCOMMIT":
            return
        if is_postgres:
            if options.get(READS_ONCE):
                driver: Any = connection.connection.dbapi_connection
                driver.autocommit = True
        elif not options.get(READS_ONCE):
            connection.exec_driver_sql("BEGIN")

    if is_postgres:

        @sa.event.listens_for(engine, "checkin")
        def on_checkin(driver: Any, _entry: ConnectionPoolEntry) -> None:  # noqa: ANN401 - psycopg2's, or None
            if driver is not None and not driver.closed and driver.autocommit:
                driver.autocommit = False
