"""From a target to a SQLAlchemy engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from .sqlite import make_sqlite_engine
from .url import DatabaseTarget, parse_database_url

if TYPE_CHECKING:
    from typing import Any


def make_engine(target: DatabaseTarget | str, *, require_tls: bool = False) -> sa.Engine:
    """Return an engine on ``target``; it connects when first used.

    Args:
        target: a checked target, or a URL to check.
        require_tls: as for ``parse_database_url``, where ``target`` is a URL.

    Raises:
        DatabaseUrlError: the URL is wrong.
    """
    if isinstance(target, str):
        target = parse_database_url(target, require_tls=require_tls)
    options: dict[str, Any] = {
        "poolclass": sa.QueuePool,
        "pool_size": target.pool_size,
        "max_overflow": target.max_overflow,
        "pool_timeout": target.pool_timeout,
        "pool_recycle": target.pool_recycle,
        "pool_use_lifo": True,
        "hide_parameters": True,
    }
    if target.dialect == "sqlite":
        return make_sqlite_engine(target, **options)
    raise NotImplementedError(target.dialect)
