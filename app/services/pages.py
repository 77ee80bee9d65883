"""Pages of a list, walked by key: no page gets slower with its number, none skips or repeats a row."""

import base64
import dataclasses
import datetime
import json
import uuid
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute

from app.database.types import UtcDateTime
from app.extensions import db
from app.utils import InvalidInput

Row = TypeVar("Row")


@dataclasses.dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Some rows, and the cursor of the page after them, if there is one."""

    items: Sequence[Row]
    next_cursor: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class Sort:
    """An order: a column, then the key among its equals, unless it has none. ``name`` goes into the cursor."""

    name: str
    column: InstrumentedAttribute[Any]
    key: InstrumentedAttribute[uuid.UUID]
    is_descending: bool = False
    is_unique: bool = False


class InvalidCursor(InvalidInput):
    """The cursor was not made by this list in this order."""

    detail = "Take the cursor from next_cursor of the page before, with the same sort."

    def __init__(self) -> None:
        super().__init__(errors={"cursor": [type(self).detail]})


def paginate(query: sa.Select[Row], sort: Sort, *, limit: int, cursor: str | None) -> Page[Row]:
    """Return the page of ``query`` that follows ``cursor``, of at most ``limit`` rows.

    Raises:
        InvalidCursor: the cursor is not one of this list in this order.
    """
    rows = db.session.scalars(order_page(query, sort, cursor=cursor).limit(limit + 1)).all()
    return cut_page(rows, sort, limit=limit)


def order_page(query: sa.Select[Row], sort: Sort, *, cursor: str | None) -> sa.Select[Row]:
    """Return ``query`` in the order of ``sort``, from behind ``cursor`` on.

    Raises:
        InvalidCursor: the cursor is not one of this list in this order.
    """
    if cursor is not None:
        value, key = _decode_cursor(cursor, sort)
        beyond = sort.column < value if sort.is_descending else sort.column > value
        if sort.is_unique:
            query = query.where(beyond)
        else:
            # Not as a row value, for which MySQL walks no index: (a, b) > (x, y). The bound on the column alone is
            # where PostgreSQL begins to walk; without it, that would be at the first row of all.
            key_beyond = sort.key < key if sort.is_descending else sort.key > key
            bound = sort.column <= value if sort.is_descending else sort.column >= value
            query = query.where(bound, sa.or_(beyond, key_beyond))
    # A second column behind one without equals would keep MySQL from walking its index.
    columns = (sort.column,) if sort.is_unique else (sort.column, sort.key)
    return query.order_by(*(column.desc() if sort.is_descending else column for column in columns))


def cut_page(rows: Sequence[Row], sort: Sort, *, limit: int) -> Page[Row]:
    """Return the page of the first ``limit`` of these rows; that there are more says that there is another page."""
    page = rows[:limit]
    return Page(page, _encode_cursor(page[-1], sort) if len(rows) > limit else None)


def _encode_cursor(row: object, sort: Sort) -> str:
    value = getattr(row, sort.column.key)
    text = value.isoformat() if isinstance(value, datetime.datetime) else value
    packed = json.dumps([sort.name, text, str(getattr(row, sort.key.key))], separators=(",", ":"), ensure_ascii=False)
    return base64.urlsafe_b64encode(packed.encode()).decode().rstrip("=")


def _decode_cursor(cursor: str, sort: Sort) -> tuple[Any, uuid.UUID]:
    try:
        packed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        name, text, key = json.loads(packed.decode())
        if name != sort.name or not isinstance(text, str):
            raise InvalidCursor
        text.encode()  # a lone surrogate would only fail in the driver
        if isinstance(sort.column.type, UtcDateTime):
            # In UTC here: of the first and last hours that there are, the conversion would fail in the driver.
            instant = datetime.datetime.fromisoformat(text)
            if instant.tzinfo is None:
                raise InvalidCursor
            return instant.astimezone(datetime.UTC), uuid.UUID(key)
        if "\0" in text:
            raise InvalidCursor
        return text, uuid.UUID(key)
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise InvalidCursor from error
