"""Pages of a list, walked by key: no page gets slower with its number, none skips or repeats a row."""

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final, Generic, TypeAlias, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute

from app.database import Query
from app.extensions import db
from app.search import choose_condition

from .cursors import Sort, is_nullable, read_cursor, write_cursor

Row = TypeVar("Row")
Filter: TypeAlias = Callable[[Any], sa.ColumnElement[bool]]
"""The condition under which a row has a value."""

# The parameters of a page, beside those of its filters: where the page before ended, and how many rows to look for.
_AFTER: Final = "after_value"
_AFTER_KEY: Final = "after_key"
_LIMIT: Final = "row_limit"
WALK_ROWS: Final = 500


@dataclasses.dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Some rows, and the cursor of the page after them, if there is one."""

    items: Sequence[Row]
    next_cursor: str | None


def filter_by(*columns: InstrumentedAttribute[Any]) -> dict[str, Filter]:
    """Return the filters by which rows have a value in ``columns``, each under its column's name."""
    return {column.key: column.__eq__ for column in columns}


class Listing(Generic[Row]):
    """What is listed page by page. Each combination of an order and conditions is compiled once."""

    def __init__(
        self,
        query: sa.Select[Any],
        *,
        row: type[Row] | None = None,
        filters: Mapping[str, Filter],
        searched: InstrumentedAttribute[str] | None = None,
        has_search_index: bool = False,
    ) -> None:
        """``row`` is a named tuple of the query's columns; ``searched`` the column of search text, if there is one.

        Without a ``SearchIndex`` of its table a search reads the whole of it, which a few thousand rows bear.
        """
        self._query = query
        self._row = row
        self._filters = filters
        self._searched = searched
        self._has_search_index = has_search_index
        self._queries: dict[tuple[str, ...], Query[Row]] = {}

    def get_page(
        self, sort: Sort, *, limit: int, cursor: str | None = None, search: str | None = None, **values: object
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
            after, parameters[_AFTER_KEY] = read_cursor(cursor, sort)
            if after is not None:
                parameters[_AFTER] = after
        shape = (db.engine.dialect.name, sort.name, *parameters)
        query = self._queries.get(shape)
        if query is None:
            query = self._queries[shape] = self._make_query(sort, parameters)
        # One row more says whether there is another page.
        parameters[_LIMIT] = limit + 1
        rows = self._search(search, query, sort, parameters) if search else db.fetch(query, parameters)
        page = rows[:limit]
        return Page(page, write_cursor(page[-1], sort) if len(rows) > limit else None)

    def walk(self, sort: Sort, *, search: str | None = None, **values: object) -> Iterator[Sequence[Row]]:
        """Yield the rows of all pages, page by page; no connection is held between two of them."""
        cursor: str | None = None
        while True:
            page = self.get_page(sort, limit=WALK_ROWS, cursor=cursor, search=search, **values)
            yield page.items
            cursor = page.next_cursor
            if cursor is None:
                return

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
                has_index=self._has_search_index,
            )
            return [query.make_row(row) for row in reading.connection().execute(page.where(condition))]

    def _make_query(self, sort: Sort, names: Collection[str]) -> Query[Row]:
        """Return the query of a page in the order of ``sort`` that has parameters of these names."""
        query = self._query
        for name, make_condition in self._filters.items():
            if name in names:
                query = query.where(make_condition(_make_parameter(name)))
        if _AFTER_KEY in names:
            query = query.where(_make_bound(sort) if _AFTER in names else _make_bound_behind_null(sort))
        # A second column behind one without equals would keep MySQL from walking its index.
        columns = (sort.column,) if sort.is_unique else (sort.column, sort.key)
        query = query.order_by(*(_make_order(column, is_descending=sort.is_descending) for column in columns))
        return Query(query.limit(sa.bindparam(_LIMIT, type_=sa.Integer, required=False)), row=self._row)


def _make_order(column: InstrumentedAttribute[Any], *, is_descending: bool) -> sa.ColumnElement[Any]:
    """Return the order by ``column`` in which NULL is less than any value, as the others have it without being told."""
    order = column.desc() if is_descending else column.expression
    if not is_nullable(column) or db.engine.dialect.name != "postgresql":
        return order
    return order.nulls_last() if is_descending else order.nulls_first()


def _make_bound(sort: Sort) -> sa.ColumnElement[bool]:
    """Return the condition that a row comes behind where the page before ended."""
    value, key = _make_parameter(_AFTER), _make_parameter(_AFTER_KEY)
    beyond = sort.column < value if sort.is_descending else sort.column > value
    if sort.is_unique:
        return beyond
    # Not as a row value, for which MySQL walks no index: (a, b) > (x, y). The bound on the column alone is where
    # PostgreSQL begins to walk; without it, that would be at the first row of all.
    bound = sort.column <= value if sort.is_descending else sort.column >= value
    behind = sa.and_(bound, sa.or_(beyond, _make_key_bound(sort, key)))
    return sa.or_(behind, sort.column.is_(None)) if sort.is_descending and is_nullable(sort.column) else behind


def _make_bound_behind_null(sort: Sort) -> sa.ColumnElement[bool]:
    """Return the condition that a row comes behind one that has no value to be sorted by."""
    among_them = sa.and_(sort.column.is_(None), _make_key_bound(sort, _make_parameter(_AFTER_KEY)))
    return among_them if sort.is_descending else sa.or_(among_them, sort.column.is_not(None))


def _make_key_bound(sort: Sort, key: sa.BindParameter[Any]) -> sa.ColumnElement[bool]:
    return sort.key < key if sort.is_descending else sort.key > key


def _make_parameter(name: str) -> sa.BindParameter[Any]:
    return sa.bindparam(name, required=False)
