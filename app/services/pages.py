"""Pages of a list, walked by key: no page gets slower with its number, none skips or repeats a row."""

import base64
import dataclasses
import datetime
import json
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, Generic, TypeAlias, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute

from app.database import Query
from app.database.types import UtcDateTime
from app.extensions import db
from app.search import choose_condition
from app.utils import InvalidInput

Row = TypeVar("Row")
Filter: TypeAlias = Callable[[Any], sa.ColumnElement[bool]]
"""The condition under which a row has a value."""

# The parameters of a page, beside those of its filters: where the page before ended, and how many rows to look for.
_AFTER: Final = "after_value"
_AFTER_KEY: Final = "after_key"
_LIMIT: Final = "row_limit"


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


class Listing(Generic[Row]):
    """What is listed page by page. Each combination of an order and conditions is compiled once."""

    def __init__(
        self,
        query: sa.Select[Any],
        *,
        row: type[Row] | None = None,
        filters: Mapping[str, Filter],
        searched: InstrumentedAttribute[str] | None = None,
    ) -> None:
        """``row`` is a named tuple of the query's columns; ``searched`` the column of search text, if there is one."""
        self._query = query
        self._row = row
        self._filters = filters
        self._searched = searched
        self._queries: dict[tuple[str, ...], Query[Row]] = {}

    def get_page(
        self, sort: Sort, *, limit: int, cursor: str | None, search: str | None = None, **values: object
    ) -> Page[Row]:
        """Return the page that follows ``cursor``, of at most ``limit`` rows.

        ``values`` are those to filter by, under the names of the filters; None filters nothing.

        Raises:
            InvalidCursor: the cursor is not one of this list in this order.
            LookupError: there is no such filter: without it, rows would be shown that were not asked for.
        """
        if unknown := values.keys() - self._filters.keys():
            raise LookupError(f"this listing has no filter {', '.join(sorted(unknown))}")
        parameters: dict[str, Any] = {name: value for name, value in values.items() if value is not None}
        if cursor is not None:
            parameters[_AFTER], parameters[_AFTER_KEY] = _decode_cursor(cursor, sort)
        shape = (sort.name, *parameters)
        query = self._queries.get(shape)
        if query is None:
            query = self._queries[shape] = self._make_query(sort, parameters)
        # One row more says whether there is another page.
        parameters[_LIMIT] = limit + 1
        rows = self._search(search, query, sort, parameters) if search else db.fetch(query, parameters)
        page = rows[:limit]
        return Page(page, _encode_cursor(page[-1], sort) if len(rows) > limit else None)

    def _search(self, text: str, query: Query[Row], sort: Sort, parameters: Mapping[str, Any]) -> list[Row]:
        """Return the rows of ``query`` that are found by ``text``."""
        if self._searched is None:
            raise LookupError("this listing has no column that is searched")
        page = query.statement.params(parameters)
        with db.reading() as reading:
            condition = choose_condition(
                reading,
                text,
                page=page.limit(None),
                page_size=parameters[_LIMIT],
                column=self._searched.expression,
                key=sort.key.expression,
            )
            return [query.make_row(row) for row in reading.connection().execute(page.where(condition))]

    def _make_query(self, sort: Sort, names: Collection[str]) -> Query[Row]:
        """Return the query of a page in the order of ``sort`` that has parameters of these names."""
        query = self._query
        for name, make_condition in self._filters.items():
            if name in names:
                query = query.where(make_condition(_make_parameter(name)))
        if _AFTER in names:
            query = query.where(_make_bound(sort))
        # A second column behind one without equals would keep MySQL from walking its index.
        columns = (sort.column,) if sort.is_unique else (sort.column, sort.key)
        query = query.order_by(*(column.desc() if sort.is_descending else column for column in columns))
        return Query(query.limit(sa.bindparam(_LIMIT, type_=sa.Integer, required=False)), row=self._row)


def _make_bound(sort: Sort) -> sa.ColumnElement[bool]:
    """Return the condition that a row comes behind where the page before ended."""
    value, key = _make_parameter(_AFTER), _make_parameter(_AFTER_KEY)
    beyond = sort.column < value if sort.is_descending else sort.column > value
    if sort.is_unique:
        return beyond
    # Not as a row value, for which MySQL walks no index: (a, b) > (x, y). The bound on the column alone is where
    # PostgreSQL begins to walk; without it, that would be at the first row of all.
    key_beyond = sort.key < key if sort.is_descending else sort.key > key
    bound = sort.column <= value if sort.is_descending else sort.column >= value
    return sa.and_(bound, sa.or_(beyond, key_beyond))


def _make_parameter(name: str) -> sa.BindParameter[Any]:
    return sa.bindparam(name, required=False)


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
