# ruff: noqa: RUF001 - names in several scripts are what is tested
from __future__ import annotations

import pytest

from app.search.text import MAX_TERMS, SEARCH_TEXT_MAX_LENGTH, make_search_text, make_terms


def matches(query: str, text: str) -> bool:
    """What the search means, spelled out."""
    words = make_search_text(text).split()
    terms = make_terms(query)
    return bool(terms) and all(any(word.startswith(term) for word in words) for term in terms)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("jose", "José"),
        ("JOSÉ", "jose"),
        ("strasse", "Straße"),
        ("straße", "STRASSE"),
        ("lodz", "Łódź"),
        ("soren", "Søren"),
        ("istanbul", "İSTANBUL"),
        ("isil", "Işıl"),
        ("dang", "Đặng"),
        ("aether", "Æther"),
        ("file", "ﬁle"),
        ("full", "ｆｕｌｌ"),
        ("οδυσσευς", "Ὀδυσσεύς"),
        ("елка", "Ёлка"),
        ("محمد", "محمَّد"),
        ("שלום", "שָׁלוֹם"),
        ("田", "田中太郎"),
        ("太郎 田", "田中太郎"),
        ("김", "김철수"),
        ("हिन्", "हिन्दी"),
        ("mar", "Marie Curie"),
        ("cur mar", "Marie Curie"),
        ("marie@ex", "marie@example.com"),
        ("a", "The A Team"),
        ("the", "The A Team"),
        ("o'bri", "Conan O'Brien"),
        ("queue", "Queue"),
        ("jose\u0301", "José"),
    ],
)
def test_words_are_found_by_their_beginning_whatever_their_case_accents_and_form(query: str, text: str) -> None:
    assert matches(query, text)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("arie", "Marie"),
        ("marie pierre", "Marie Curie"),
        ("か", "が"),
        ("q", "中"),
        ("x", "Marie"),
        ("xx", "Marie"),
        ("", "Marie"),
        (" %_*+-\"'()\\", "Marie"),
    ],
)
def test_nothing_else_is_found(query: str, text: str) -> None:
    assert not matches(query, text)


def test_the_stored_text_is_short_enough_whatever_a_name_holds() -> None:
    for text in ("\U00010400 " * 500, "é" * 1000, "a" * 1000, "中" * 1000, "q " * 1000):
        stored = make_search_text(text, text)
        assert stored.isascii()
        assert len(stored) <= SEARCH_TEXT_MAX_LENGTH
        assert all(5 <= len(word) + 2 <= 84 for word in stored.split())


def test_a_long_query_is_cut_to_what_can_be_afforded() -> None:
    assert len(make_terms(" ".join(str(number) for number in range(100)))) == MAX_TERMS


def test_a_query_cannot_speak_any_engine_s_language() -> None:
    assert all(term.isalnum() for term in make_terms('a* OR b:* & !c -d +e NEAR(f) "g" h\') --'))
