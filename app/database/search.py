"""Search for words and beginnings of words, with the same answers on SQLite, PostgreSQL and MySQL.

Three full-text engines agree on little: where words end, which are too short or too common, which letters are one. So
none of that is left to them. ``make_search_text`` folds and cuts text in Python into words of plain ASCII letters and
digits that every engine indexes as they stand; the table keeps them in a column, and each database keeps its own
full-text index of that column in step. What matches is defined without any of them: every word of the query begins a
word of the text.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.orm import Session

SEARCH_TEXT_MAX_LENGTH: Final = 2500
# A query's further words are ignored: what a person types has fewer, and each costs.
MAX_TERMS: Final = 8
# How far to walk in the order asked for before turning to the index. At a million users it is some 5 ms, and what is
# not found in it has so few matches that fetching and sorting them takes no more than a few times that.
WALK_ROWS: Final = 5000

# InnoDB indexes words of 3 to 84 characters that are not English stop words: two letters in front make the shortest
# word long enough and no word a stop word.
_WORD_PREFIX: Final = "xx"
_WORD_MAX_LENGTH: Final = 80

# Letters that Unicode does not decompose, though people type them without their stroke or ligature.
_LETTERS: Final = str.maketrans({
    "\u0131": "i", "ł": "l", "ø": "o", "đ": "d", "ð": "d", "ħ": "h", "ŧ": "t", "þ": "th", "æ": "ae", "œ": "oe",
    "ŋ": "n", "ĸ": "k", "ə": "e",
})  # fmt: skip
# Marks above, below and through letters that people leave out. Those of other scripts (Devanagari's and Thai's vowels,
# the dots of kana) make another letter, and stay.
_MARKS: Final = re.compile(
    "[\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff]"
)
# Scripts written without blanks: every character is a word.
_IDEOGRAPHS: Final = re.compile("([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])")
# SQLite's tables: what is indexed, and the index.
_ROWS: Final = "users_search_rows"
_INDEX: Final = "users_search"
_BASE_36: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


class SearchText(sa.types.TypeDecorator[str]):
    """What ``make_search_text`` returns: plain ASCII, compared byte by byte."""

    impl = sa.String
    cache_ok = True

    def __init__(self) -> None:
        super().__init__(SEARCH_TEXT_MAX_LENGTH)

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        """Return the dialect's string of ASCII characters."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.VARCHAR(SEARCH_TEXT_MAX_LENGTH, collation="C"))
        if dialect.name in {"mysql", "mariadb"}:
            return dialect.type_descriptor(
                mysql.VARCHAR(SEARCH_TEXT_MAX_LENGTH, charset="ascii", collation="ascii_bin")
            )
        return dialect.type_descriptor(sa.String(SEARCH_TEXT_MAX_LENGTH))


def make_search_text(*texts: str) -> str:
    """Return what to store so that the words of ``texts`` are found; each word once, with a blank before each."""
    words = dict.fromkeys(word for text in texts for word in _split(text))
    search_text = "".join(f" {word}" for word in words)
    if len(search_text) <= SEARCH_TEXT_MAX_LENGTH:
        return search_text
    return search_text[: search_text.rindex(" ", 0, SEARCH_TEXT_MAX_LENGTH + 1)]


def make_terms(query: str) -> tuple[str, ...]:
    """Return the words to look for, encoded as in the stored text; none if ``query`` has no letter or digit."""
    return tuple(dict.fromkeys(_split(query)))[:MAX_TERMS]


def _split(text: str) -> Iterator[str]:
    folded = _fold(text)
    spaced = "".join(char if unicodedata.category(char)[0] in "LMN" else " " for char in folded)
    for word in _IDEOGRAPHS.sub(r" \1 ", spaced).split():
        yield _encode(word)


def _fold(text: str) -> str:
    """Return ``text`` without case, accents, and differences of width or form."""
    spread = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold().translate(_LETTERS))
    return unicodedata.normalize("NFC", _MARKS.sub("", spread).casefold().translate(_LETTERS))


def _encode(word: str) -> str:
    """Return ``word`` in ASCII: what begins with it begins with its encoding, and nothing else does.

    ASCII stands for itself, any other character for ``q`` and four digits of base 36, the first of them at most ``n``;
    ``q`` itself is doubled.
    """
    encoded = _WORD_PREFIX
    for char in word:
        code = _encode_character(char)
        if len(encoded) + len(code) > _WORD_MAX_LENGTH:
            break
        encoded += code
    return encoded


def _encode_character(char: str) -> str:
    if char == "q":
        return "qq"
    if char.isascii():
        return char
    number, digits = ord(char), ""
    for _ in range(4):
        number, digit = divmod(number, 36)
        digits = _BASE_36[digit] + digits
    return f"q{digits}"


# --- conditions ---


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
    """Return the same condition for the full-text index that ``create_search`` made.

    Args:
        column: the search text.
        terms: what ``make_terms`` returned.
        key: the primary key of the column's table.
        dialect: the name of the engine's dialect.
    """
    if not terms:
        return sa.false()
    if dialect == "postgresql":
        words = " & ".join(f"{term}:*" for term in terms)
        vector = sa.func.to_tsvector(sa.literal_column("'simple'::regconfig"), column)
        return vector.bool_op("@@")(sa.func.to_tsquery(sa.literal_column("'simple'::regconfig"), words))
    if dialect in {"mysql", "mariadb"}:
        words = " ".join(f"+{term}*" for term in terms)
        return mysql.match(column, against=words).in_boolean_mode()
    rows = sa.table(_ROWS, sa.column("number"), sa.column("key"))
    index = sa.table(_INDEX, sa.column("rowid"), sa.column(_INDEX))
    words = " ".join(f"{term}*" for term in terms)
    found = sa.select(rows.c.key).join_from(rows, index, index.c.rowid == rows.c.number)
    return key.in_(found.where(index.c[_INDEX].bool_op("MATCH")(words)))


def choose_condition(
    session: Session,
    query: str,
    *,
    page: sa.Select[Any],
    page_size: int,
    column: sa.ColumnElement[str],
    key: sa.ColumnElement[Any],
) -> sa.ColumnElement[bool]:
    """Return the condition under which a row is found by ``query``, in the form that gives this page sooner.

    Fetching all that matches through the index and sorting it takes the longer the more there is: ``exa``, with which
    every address at example.com begins a word, matches most of a table. A page of such is sooner found by walking in
    the order asked for and taking what fits. So the first rows of that walk are looked at: where they hold a whole
    page, walking it is.

    Args:
        session: what the page will be read with.
        query: what somebody typed.
        page: the rows in the order asked for, behind the cursor and with all other conditions, without this one.
        page_size: how many rows of it are wanted.
        column: the search text.
        key: the primary key of the column's table.
    """
    terms = make_terms(query)
    if not terms:
        return sa.false()
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
    order = [
        (clause.element, clause.modifier) if isinstance(clause, sa.UnaryExpression) else (clause, None)
        for clause in page._order_by_clauses  # noqa: SLF001 - there is no public way to ask
    ]
    labels = [element.label(f"order_{number}") for number, (element, _) in enumerate(order)]
    found = page.order_by(None).with_only_columns(key.label("key"), *labels).offset(0).subquery()
    columns = [found.c[label.name] for label in labels]
    return (
        sa.select(found.c.key)
        .order_by(
            *(column.desc() if modifier else column for column, (_, modifier) in zip(columns, order, strict=True))
        )
        .limit(page_size)
    )
