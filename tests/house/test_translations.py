"""The translations of mails and pages are whole, and the compiled ones say what their sources say."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.mofile import read_mo
from babel.messages.pofile import read_po

from app.languages import DEFAULT_LANGUAGE, LANGUAGES
from app.mail.rendering import FOLDER

if TYPE_CHECKING:
    from babel.messages.catalog import Catalog

REMEDY: Final = "run scripts/translations.sh"
TRANSLATED: Final = sorted(set(LANGUAGES) - {DEFAULT_LANGUAGE})


def read(language: str) -> Catalog:
    with (FOLDER / "translations" / language / "LC_MESSAGES" / "messages.po").open("rb") as file:
        return read_po(file, locale=language)


def list_words() -> set[str]:
    """Return what the templates say, in English."""
    with (FOLDER / "babel.cfg").open(encoding="utf-8") as file:
        methods, options = parse_mapping_cfg(file)  # type: ignore[no-untyped-call] # Babel's
    found = extract_from_dir(str(FOLDER.parent), methods, options)
    return {str(message) for _file, _line, message, _comments, _context in found}


def test_there_is_a_translation_for_each_language_and_no_other() -> None:
    assert sorted(path.name for path in (FOLDER / "translations").iterdir()) == TRANSLATED


@pytest.mark.parametrize("language", TRANSLATED)
def test_every_word_is_translated_and_nothing_else(language: str) -> None:
    catalog = read(language)
    messages = [message for message in catalog if message.id]
    assert {str(message.id) for message in messages} == list_words(), REMEDY
    assert [message.id for message in messages if not message.string or message.fuzzy] == []
    assert not catalog.obsolete, REMEDY


@pytest.mark.parametrize("language", TRANSLATED)
def test_a_translation_has_the_values_of_its_source(language: str) -> None:
    values = re.compile(r"%\(\w+\)s|%")
    for message in read(language):
        if message.id:
            assert sorted(values.findall(str(message.string))) == sorted(values.findall(str(message.id))), message.id


@pytest.mark.parametrize("language", TRANSLATED)
def test_the_compiled_translation_is_that_of_its_source(language: str) -> None:
    with (FOLDER / "translations" / language / "LC_MESSAGES" / "messages.mo").open("rb") as file:
        compiled = {message.id: message.string for message in read_mo(file) if message.id}
    assert compiled == {message.id: message.string for message in read(language) if message.id}, REMEDY
