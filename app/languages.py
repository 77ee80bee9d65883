"""The languages that mails and pages speak, and which of them a request asks for."""

from collections.abc import Iterable
from typing import Final

LANGUAGES: Final = ("en", "de")
DEFAULT_LANGUAGE: Final = "en"
LANGUAGE_MAX_LENGTH: Final = 16


def choose_language(wanted: Iterable[str]) -> str:
    """Return the first of our languages in ``wanted``, tags such as ``de-AT`` in the order of preference."""
    primary = (tag.replace("_", "-").partition("-")[0].lower() for tag in wanted)
    return next((tag for tag in primary if tag in LANGUAGES), DEFAULT_LANGUAGE)
