"""Column types that mean the same on SQLite, PostgreSQL and MySQL."""

import datetime
import decimal
import enum
from typing import Any, Final, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.engine import Dialect

Member = TypeVar("Member", bound=enum.StrEnum)

MAX_DIGITS: Final = 18
"""As many as a whole number of 64 bits always holds, which SQLite keeps them in."""


class UtcDateTime(sa.types.TypeDecorator[datetime.datetime]):
    """An instant: aware in Python, UTC and microseconds in every database.

    Raises:
        ValueError: a naive time was given; say which time zone it is in.
    """

    impl = sa.DateTime
    cache_ok = True

    @property
    def python_type(self) -> type[datetime.datetime]:
        """What values are in Python; SQLAlchemy does not ask ``impl`` for it."""
        return datetime.datetime

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

    @property
    def python_type(self) -> type[str]:
        """What values are in Python; SQLAlchemy does not ask ``impl`` for it."""
        return str

    def load_dialect_impl(self, dialect: Dialect) -> sa.types.TypeEngine[Any]:
        """Return the dialect's string with the collation that compares code points."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.VARCHAR(self.length, collation="C"))
        if dialect.name in {"mysql", "mariadb"}:
            return dialect.type_descriptor(mysql.VARCHAR(self.length, charset="utf8mb4", collation="utf8mb4_bin"))
        return dialect.type_descriptor(sa.String(self.length))


class ExactDecimal(sa.types.TypeDecorator[decimal.Decimal]):
    """A decimal number of at most ``digits`` digits, ``places`` of them behind the point, that is never rounded.

    SQLite has no such type and would make a float of it: there it is stored as a whole number of the last place. So it
    may be compared, sorted and summed up in SQL; to multiply or divide it, load it.

    Raises:
        ValueError: the number has more digits or places, or is no finite decimal.
    """

    impl = sa.Numeric
    cache_ok = True

    class Comparator(sa.types.TypeDecorator.Comparator[decimal.Decimal]):
        """Refuses what would mean different things on different databases."""

        def operate(self, op: Any, *other: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - SQLAlchemy's signature
            """Return the expression.

            Raises:
                TypeError: the number is multiplied or divided.
            """
            if getattr(op, "__name__", "") in {"mul", "truediv", "floordiv", "mod"}:
                raise TypeError("an ExactDecimal is not multiplied or divided in SQL: load it first")
            return super().operate(op, *other, **kwargs)

    comparator_factory = Comparator

    def __init__(self, digits: int, places: int) -> None:
        if not 0 <= places <= digits <= MAX_DIGITS:
            raise ValueError(f"at most {MAX_DIGITS} digits, of which no more than all are behind the point")
        super().__init__(digits, places)
        self.digits = digits
        self.places = places

    @property
    def python_type(self) -> type[decimal.Decimal]:
        """What values are in Python; SQLAlchemy does not ask ``impl`` for it."""
        return decimal.Decimal

    def load_dialect_impl(self, dialect: Dialect) -> sa.types.TypeEngine[Any]:
        """Return the dialect's exact number."""
        number = sa.BigInteger() if dialect.name == "sqlite" else sa.Numeric(self.digits, self.places)
        return dialect.type_descriptor(number)

    def check(self, value: decimal.Decimal) -> decimal.Decimal:
        """Return ``value`` with all its places.

        Raises:
            ValueError: it has too many digits or places, or is not finite.
        """
        is_small = value.is_finite() and (not value or value.adjusted() < self.digits - self.places)
        whole = value.quantize(decimal.Decimal(1).scaleb(-self.places)) if is_small else None
        if whole is None or whole != value:
            raise ValueError(f"a number of at most {self.digits} digits, {self.places} of them behind the point")
        # Not -0.00, which would be another text for the same number.
        return whole or abs(whole)

    def process_bind_param(self, value: decimal.Decimal | int | None, dialect: Dialect) -> Any:  # noqa: ANN401 - an int on SQLite
        """Return what the driver is given."""
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, decimal.Decimal | int):
            raise ValueError(f"a Decimal is stored here, not {type(value).__name__}")  # noqa: TRY004 - SQLAlchemy wraps it
        exact = self.check(decimal.Decimal(value))
        return int(exact.scaleb(self.places)) if dialect.name == "sqlite" else exact

    def process_result_value(self, value: Any, dialect: Dialect) -> decimal.Decimal | None:  # noqa: ANN401 - the driver's
        """Return the number with all its places."""
        if value is None:
            return None
        number = decimal.Decimal(value)
        if dialect.name == "sqlite":
            return number.scaleb(-self.places)
        return number.quantize(decimal.Decimal(1).scaleb(-self.places))


class EnumString(sa.types.TypeDecorator[Any]):
    """A member of an enumeration of strings, stored as its value; it is sorted by that.

    Raises:
        ValueError: something else is to be stored, or is.
    """

    impl = sa.String
    cache_ok = True

    def __init__(self, members: type[Member], length: int = 32) -> None:
        super().__init__(length)
        self.members = members
        self.length = length
        if any(len(member.value) > length for member in members):
            raise ValueError(f"a value of {members.__name__} is longer than {length} characters")

    def load_dialect_impl(self, dialect: Dialect) -> sa.types.TypeEngine[Any]:
        """Return the dialect's string, compared by code points."""
        return dialect.type_descriptor(ExactString(self.length).load_dialect_impl(dialect))

    @property
    def python_type(self) -> type[Any]:
        """The enumeration."""
        return self.members

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Return the member's value."""
        del dialect
        return None if value is None else str(self.members(value).value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:  # noqa: ANN401 - a member
        """Return the member."""
        del dialect
        return None if value is None else self.members(value)
