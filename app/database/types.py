"""Column types that mean the same on SQLite, PostgreSQL and MySQL."""

import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.engine import Dialect


class UtcDateTime(sa.types.TypeDecorator[datetime.datetime]):
    """An instant: aware in Python, UTC and microseconds in every database.

    Raises:
        ValueError: a naive time was given; say which time zone it is in.
    """

    impl = sa.DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> sa.types.TypeEngine[Any]:
        """Return the dialect's type that keeps microseconds."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.TIMESTAMP(timezone=True))
        if dialect.name in {"mysql", "mariadb"}:
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return dialect.type_descriptor(sa.DateTime())

    def process_bind_param(self, value: datetime.datetime | None, dialect: Dialect) -> datetime.datetime | None:
        """Return what the driver is given: UTC, aware only where the database keeps the zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive time was given; say which time zone it is in")
        utc = value.astimezone(datetime.UTC)
        return utc if dialect.name == "postgresql" else utc.replace(tzinfo=None)

    def process_result_value(self, value: datetime.datetime | None, dialect: Dialect) -> datetime.datetime | None:
        """Return the instant as an aware time in UTC."""
        del dialect
        if value is None:
            return None
        return value.replace(tzinfo=datetime.UTC) if value.tzinfo is None else value.astimezone(datetime.UTC)


class ExactString(sa.types.TypeDecorator[str]):
    """A string that is compared and sorted by its code points, whatever the database's collation.

    Without it MariaDB holds ``josé`` and ``jose``, ``straße`` and ``strasse`` for equal, and PostgreSQL sorts by the
    rules of the language that the cluster happened to be made in. Trailing blanks still compare equal on MySQL and
    MariaDB: keep them out before storing where that matters.
    """

    impl = sa.String
    cache_ok = True

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self.length = length

    def load_dialect_impl(self, dialect: Dialect) -> sa.types.TypeEngine[Any]:
        """Return the dialect's string with the collation that compares code points."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.VARCHAR(self.length, collation="C"))
        if dialect.name in {"mysql", "mariadb"}:
            return dialect.type_descriptor(mysql.VARCHAR(self.length, charset="utf8mb4", collation="utf8mb4_bin"))
        return dialect.type_descriptor(sa.String(self.length))
