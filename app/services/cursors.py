"""The order of a list, and its cursors: where a page ended, as text that only the list which made it understands."""

import base64
import dataclasses
import datetime
import decimal
import enum
import json
import re
import uuid
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Self

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute

from app.database.types import ExactDecimal, UtcDateTime
from app.utils import InvalidInput, Message

_BIGGEST: Final = 2**63 - 1
_MAX_EXPONENT: Final = 100
_TEXT_MAX_LENGTH: Final = 255
"""Of what is four bytes a character, base64 makes a cursor that is just short enough."""


@dataclasses.dataclass(frozen=True, slots=True)
class Sort:
    """An order: a column, then the key among its equals, unless it has none. ``name`` goes into the cursor.

    What has no value comes first, and last where the order is descending, on every database.

    Raises:
        LookupError: no cursor could hold what is in the column, so that nobody would get beyond the first page.
    """

    name: str
    column: InstrumentedAttribute[Any]
    key: InstrumentedAttribute[Any]
    is_descending: bool = False
    is_unique: bool = False

    def __post_init__(self) -> None:
        """Refuse columns that no cursor can hold."""
        for column in (self.column, self.key):
            if (wanted := _find_better_type(column.expression.type)) is not None:
                raise LookupError(f"no list is sorted by {column} of the type {column.expression.type!r}: {wanted}")

    @classmethod
    def make_all(cls, *columns: InstrumentedAttribute[Any], key: InstrumentedAttribute[Any]) -> Mapping[str, Self]:
        """Return the orders of a list by each of ``columns``, and by each descending, as ``name`` and ``-name``."""
        return {
            sign + column.key: cls(
                sign + column.key,
                column,
                key,
                is_descending=sign == "-",
                is_unique=bool(column.expression.unique) and not is_nullable(column),
            )
            for column in columns
            for sign in ("", "-")
        }


class InvalidCursor(InvalidInput):
    """The cursor was not made by this list in this order."""

    detail = "Take the cursor from next_cursor of the page before, with the same sort."

    def __init__(self) -> None:
        super().__init__(errors={"cursor": [Message(type(self).detail, "invalid_cursor")]})


def is_nullable(column: InstrumentedAttribute[Any]) -> bool:
    """Say whether there may be rows without a value in ``column``."""
    return bool(column.expression.nullable)


def _find_better_type(column_type: sa.types.TypeEngine[Any]) -> str | None:
    """Return what to make of a type whose values no cursor brings back as they are, or None."""
    python_type = column_type.python_type
    if issubclass(python_type, enum.Enum):
        return None
    if python_type is datetime.datetime and not isinstance(column_type, UtcDateTime):
        return "make it UtcDateTime"
    length = getattr(column_type, "length", None)
    if python_type is str and (length is None or length > _TEXT_MAX_LENGTH):
        return f"make it ExactString of at most {_TEXT_MAX_LENGTH} characters"
    return None if python_type in _READERS else f"take {', '.join(sorted(each.__name__ for each in _READERS))}"


def write_cursor(row: object, sort: Sort) -> str:
    """Return the cursor of the page that follows ``row`` in the order of ``sort``."""
    value, key = (_write(getattr(row, column.key)) for column in (sort.column, sort.key))
    packed = json.dumps([sort.name, value, key], separators=(",", ":"), ensure_ascii=False)
    return base64.urlsafe_b64encode(packed.encode()).decode().rstrip("=")


def read_cursor(cursor: str, sort: Sort) -> tuple[Any, Any]:
    """Return the value and the key of the row that the page before ended with.

    Raises:
        InvalidCursor: the cursor is not one of this list in this order.
    """
    try:
        packed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        name, text, key = json.loads(packed.decode())
        if name != sort.name:
            raise InvalidCursor
        if text is None and is_nullable(sort.column):
            return None, _read(key, sort.key.type)
        return _read(text, sort.column.type), _read(key, sort.key.type)
    except (
        ValueError,
        TypeError,
        AttributeError,
        LookupError,
        OverflowError,
        RecursionError,
        decimal.DecimalException,
    ) as error:
        raise InvalidCursor from error


def _write(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, datetime.datetime | datetime.date):
        return value.isoformat()
    return str(value.value if isinstance(value, enum.Enum) else value)


def _read(text: object, column_type: sa.types.TypeEngine[Any]) -> Any:  # noqa: ANN401 - of the column's type
    """Return the value that was written as ``text``.

    Raises:
        ValueError: it is none that a column of this type could hold; the driver would only fail on it.
    """
    if not isinstance(text, str):
        raise ValueError("a cursor holds texts")  # noqa: TRY004 - of what a client sent
    if isinstance(column_type, ExactDecimal):
        return column_type.check(_read_decimal(text))
    python_type = column_type.python_type
    if issubclass(python_type, enum.Enum):
        return python_type(text)
    return _READERS[python_type](text)


def _read_text(text: str) -> str:
    text.encode()  # a lone surrogate would only fail in the driver
    if "\0" in text:
        raise ValueError("no database stores this")
    return text


def _read_instant(text: str) -> datetime.datetime:
    instant = datetime.datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError("an instant has a time zone")
    # In UTC here: of the first and last hours that there are, the conversion would fail in the driver.
    return instant.astimezone(datetime.UTC)


def _read_whole(text: str) -> int:
    # int() would also take " 1_0 " and digits of other scripts.
    if not re.fullmatch(r"-?[0-9]{1,19}", text, re.ASCII) or abs(int(text)) > _BIGGEST:
        raise ValueError("no database stores this")
    return int(text)


def _read_decimal(text: str) -> decimal.Decimal:
    number = decimal.Decimal(text)
    if not number.is_finite() or abs(number.adjusted()) > _MAX_EXPONENT:
        raise ValueError("no database stores this")
    return number


_READERS: Final[Mapping[type[Any], Callable[[str], Any]]] = MappingProxyType(
    {
        str: _read_text,
        datetime.datetime: _read_instant,
        datetime.date: datetime.date.fromisoformat,
        int: _read_whole,
        bool: {"True": True, "False": False}.__getitem__,
        decimal.Decimal: _read_decimal,
        uuid.UUID: uuid.UUID,
    }
)
