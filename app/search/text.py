"""Text folded and cut into words of plain ASCII, which every database's full-text engine indexes as they stand."""

import re
import unicodedata
from collections.abc import Iterator
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql

SEARCH_TEXT_MAX_LENGTH: Final = 2500
# A query's further words are ignored: what a person types has fewer, and each costs.
MAX_TERMS: Final = 8

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
