"""From a target to a SQLAlchemy engine that keeps the promises of this package."""

import dataclasses
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from . import mysql
from .connector import Connector
from .liveness import IS_FOR_ONE_USE, discard_closed_connections
from .lookup import PREPARES
from .pool import Pool, ServerPool
from .probe import LOOK_SECONDS, PROBE, Probe
from .sqlite import make_sqlite_engine
from .sqlite_file import DatabaseFile
from .transactions import begin_only_where_needed
from .translation import translate_errors
from .url import DatabaseTarget

_DRIVERS: Final = {"postgresql": "postgresql+psycopg2", "mysql": "mysql+pymysql"}


def make_engine(target: DatabaseTarget, *, most_connections: int | None = None) -> sa.Engine:
    """Return an engine on ``target``; it connects when first used.

    What is executed on it raises, beyond SQLAlchemy's own errors, ``ConnectionLost``, ``CommitOutcomeUnknown`` or
    another ``DatabaseUnavailable``. A lost connection throws the pool away: every later one is new.
    There are at most ``most_connections`` to a server, however many the URL allows.
    """
    file = None
    if target.dialect == "sqlite":
        file = DatabaseFile(Path(target.database))
    elif most_connections is not None:
        pool_size = min(target.pool_size, most_connections)
        overflow = min(target.max_overflow, most_connections - pool_size)
        target = dataclasses.replace(target, pool_size=pool_size, max_overflow=overflow)
    engine = _make_engine(target, file)
    probed = dataclasses.replace(
        target,
        pool_size=1,
        max_overflow=0,
        connect_timeout=min(target.connect_timeout, LOOK_SECONDS),
        statement_timeout=min(target.statement_timeout, LOOK_SECONDS),
    )
    probe = Probe(target.dialect, lambda: _make_engine(probed, file), file)
    engine.update_execution_options(**{PROBE: probe})
    return engine


def _make_engine(target: DatabaseTarget, file: DatabaseFile | None) -> sa.Engine:
    options: dict[str, Any] = {
        "poolclass": Pool if target.dialect == "sqlite" else ServerPool,
        "pool_size": target.pool_size,
        "max_overflow": target.max_overflow,
        "pool_timeout": target.pool_timeout,
        "pool_recycle": target.pool_recycle,
        "pool_use_lifo": True,
        "hide_parameters": True,
    }
    if file is not None:
        engine = make_sqlite_engine(target, file, **options)
        translate_errors(engine)
        return engine
    if target.dialect == "postgresql":
        options["use_native_hstore"] = False  # it would ask for the type at every connect
    connector = Connector(target)
    # The URL has no password, so that nothing that prints an engine can tell it.
    host = target.hosts[0]
    url = sa.URL.create(_DRIVERS[target.dialect], target.user or None, None, host.name, host.port, target.database)
    engine = sa.create_engine(url, creator=connector, **options)
    translate_errors(engine, connector)
    begin_only_where_needed(engine)
    discard_closed_connections(engine)
    engine.update_execution_options(**{PREPARES: target.prepared_statements})
    return engine


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
