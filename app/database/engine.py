"""From a target to a SQLAlchemy engine that keeps the promises of this package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from . import mysql
from .connector import Connector
from .liveness import IS_FOR_ONE_USE, discard_closed_connections
from .pool import Pool, ServerPool
from .sqlite import make_sqlite_engine
from .transactions import begin_only_where_needed
from .translation import ErrorTranslator

if TYPE_CHECKING:
    from .url import DatabaseTarget

_DRIVERS: Final = {"postgresql": "postgresql+psycopg2", "mysql": "mysql+pymysql"}
# The execution option of every engine that tells what it was made from.
_TARGET: Final = "database_target"


def make_engine(target: DatabaseTarget, *, most_connections: int | None = None) -> sa.Engine:
    """Return an engine on ``target``; it connects when first used.

    What is executed on it raises, beyond SQLAlchemy's own errors, ``ConnectionLost``, ``CommitOutcomeUnknown`` or
    another ``DatabaseUnavailable``. A lost connection throws the pool away: every later one is new.
    There are at most ``most_connections`` to a server, however many the URL allows.
    """
    options: dict[str, Any] = {
        "poolclass": Pool,
        "pool_size": target.pool_size,
        "max_overflow": target.max_overflow,
        "pool_timeout": target.pool_timeout,
        "pool_recycle": target.pool_recycle,
        "pool_use_lifo": True,
        "hide_parameters": True,
        "execution_options": {_TARGET: target},
    }
    if target.dialect == "sqlite":
        engine = make_sqlite_engine(target, **options)
        ErrorTranslator(None).listen(engine)
        return engine
    options["poolclass"] = ServerPool
    if most_connections is not None:
        options["pool_size"] = min(target.pool_size, most_connections)
        options["max_overflow"] = min(target.max_overflow, most_connections - options["pool_size"])
    if target.dialect == "postgresql":
        options["use_native_hstore"] = False  # it would ask for the type at every connect
    connector = Connector(target)
    # The URL has no password, so that nothing that prints an engine can tell it.
    host = target.hosts[0]
    url = sa.URL.create(_DRIVERS[target.dialect], target.user or None, None, host.name, host.port, target.database)
    engine = sa.create_engine(url, creator=connector, **options)
    ErrorTranslator(connector).listen(engine)
    begin_only_where_needed(engine)
    discard_closed_connections(engine)
    return engine


def get_target(engine: sa.Engine) -> DatabaseTarget:
    """Return what ``make_engine`` made ``engine`` from."""
    target: DatabaseTarget = engine.get_execution_options()[_TARGET]
    return target


def lift_time_limits(connection: sa.Connection) -> None:
    """Let statements on ``connection`` take as long as they need, for a migration or a long export.

    The connection is closed when it comes back to its pool, so that nobody else has none. Waiting for a lock keeps its
    limit: what waits for a table's lock keeps everybody behind it waiting too.
    """
    if connection.dialect.name == "sqlite":
        return
    driver: Any = connection.connection.driver_connection
    connection.info[IS_FOR_ONE_USE] = True
    driver.limit_seconds = None
    is_postgres = connection.dialect.name == "postgresql"
    name = "statement_timeout" if is_postgres else mysql.get_time_limit_name(driver)
    connection.exec_driver_sql(f"SET SESSION {name} = 0")
    connection.commit()
