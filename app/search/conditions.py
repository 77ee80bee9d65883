"""Which rows a query finds, as a condition for each database."""

from collections.abc import Callable
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import Session

from .index import SearchIndex
from .text import make_terms

# How far to walk in the order asked for before turning to the index. At a million rows it is some 5 ms, and what is
# not found in it has so few matches that fetching and sorting them takes no more than a few times that.
WALK_ROWS: Final = 5000


def has_terms(column: sa.ColumnElement[str], terms: tuple[str, ...]) -> sa.ColumnElement[bool]:
    """Return the condition that every term begins a word of ``column``; no index is used.

    It is the meaning of the search, and the faster way where a great part of the rows match.
    """
    if not terms:
        return sa.false()
    # Terms are ASCII letters and digits: there is nothing to escape.
    return sa.and_(*(column.like(f"% {term}%") for term in terms))


def matches_terms(
    column: sa.ColumnElement[str], terms: tuple[str, ...], *, key: sa.ColumnElement[Any], dialect: str
) -> sa.ColumnElement[bool]:
    """Return the same condition for the full-text index of ``column``, whose table has the primary key ``key``."""
    if not terms:
        return sa.false()
    if dialect == "postgresql":
        words = " & ".join(f"{term}:*" for term in terms)
        vector = sa.func.to_tsvector(sa.literal_column("'simple'::regconfig"), column)
        return vector.bool_op("@@")(sa.func.to_tsquery(sa.literal_column("'simple'::regconfig"), words))
    if dialect in {"mysql", "mariadb"}:
        words = " ".join(f"+{term}*" for term in terms)
        return mysql.match(column, against=words).in_boolean_mode()
    table: Any = column
    index = SearchIndex(table.table.name)
    rows = sa.table(index.rows_table, sa.column("number"), sa.column("key"))
    lookup = sa.table(index.fts_table, sa.column("rowid"), sa.column(index.fts_table))
    words = " ".join(f"{term}*" for term in terms)
    found = sa.select(rows.c.key).join_from(rows, lookup, lookup.c.rowid == rows.c.number)
    return key.in_(found.where(lookup.c[index.fts_table].bool_op("MATCH")(words)))


def choose_condition(
    session: Session,
    query: str,
    *,
    page: sa.Select[Any],
    page_size: int,
    column: sa.ColumnElement[str],
    key: sa.ColumnElement[Any],
    has_index: bool,
) -> sa.ColumnElement[bool]:
    """Return the condition under which a row is found by ``query``, in the form that gives this page sooner.

    Fetching all that matches through the index and sorting it takes the longer the more there is: ``exa``, with which
    every address at example.com begins a word, matches most of a table. A page of such is sooner found by walking in
    the order asked for and taking what fits. So the first rows of that walk are looked at: where they hold a whole
    page, walking it is.

    ``page`` selects the rows in the order asked for, behind the cursor and with all other conditions; so many of them
    are wanted as ``page_size`` says. ``column`` is the search text of a table with the primary key ``key``; where that
    has no ``SearchIndex``, walking is all there is.
    """
    terms = make_terms(query)
    if not terms or not has_index:
        return has_terms(column, terms)
    walk = page.with_only_columns(column.label("text"), maintain_column_froms=True).limit(WALK_ROWS).subquery()
    found = sa.select(sa.literal(1)).where(has_terms(walk.c.text, terms)).limit(page_size).subquery()
    count = session.scalar(sa.select(sa.func.count()).select_from(found))
    if count == page_size:
        return has_terms(column, terms)
    dialect = session.get_bind().dialect.name
    condition = matches_terms(column, terms, key=key, dialect=dialect)
    if dialect == "postgresql":
        return key.in_(_find_before_sorting(page.where(condition), page_size=page_size, key=key))
    return condition


def _find_before_sorting(page: sa.Select[Any], *, page_size: int, key: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """Return the keys of the page, found through the full-text index before anything is sorted.

    PostgreSQL takes the matches for evenly spread, and so for a few steps away in the order asked for: it would walk
    that order and take each row's text apart. That this is far is known here. It does not look through OFFSET.
    """
    order = [_take_apart(clause) for clause in page._order_by_clauses]  # noqa: SLF001 - there is no public way to ask
    labels = [element.label(f"order_{number}") for number, (element, _) in enumerate(order)]
    found = page.order_by(None).with_only_columns(key.label("key"), *labels).offset(0).subquery()
    columns = [found.c[label.name] for label in labels]
    return (
        sa.select(found.c.key)
        .order_by(*(modify(column) for column, (_, modify) in zip(columns, order, strict=True)))
        .limit(page_size)
    )


def _take_apart(clause: Any) -> tuple[Any, Callable[[Any], Any]]:  # noqa: ANN401 - a clause of SQLAlchemy's
    """Return what ``clause`` sorts by, and what makes the like of it for another column: DESC, NULLS FIRST or both."""
    if not isinstance(clause, sa.UnaryExpression):
        return clause, lambda column: column
    element, modify = _take_apart(clause.element)
    return element, lambda column: sa.UnaryExpression(modify(column), modifier=clause.modifier)
