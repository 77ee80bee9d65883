"""What reads settings: a dataclass whose fields say how each is read from the environment."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

MASK: Final = "********"
_SAME: Final = "same"

Value = TypeVar("Value")
Word = TypeVar("Word", bound=str)


class SettingsError(Exception):
    """One or more settings are wrong; the message names each, and what was expected."""

    subject: ClassVar[str] = "settings"
    heading: ClassVar[str] = "The settings are wrong:"
    remedy: ClassVar[str] = "Correct it in the environment or in .env."

    def __init__(self, faults: list[str]) -> None:
        self.faults = faults
        super().__init__("\n".join([self.heading, *(f"  - {fault}" for fault in faults)]))


# --- parsers: text -> value; a ValueError's text completes "NAME: expected …" ---


def parse_text(text: str) -> str:
    """Return ``text`` as it is."""
    return text


def parse_bool(text: str) -> bool:
    """Return what one of the usual words means."""
    words = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    if text.lower() not in words:
        raise ValueError("true or false")
    return words[text.lower()]


def parse_int(*, at_least: int, at_most: int) -> Callable[[str], int]:
    """Return a parser of whole numbers in plain digits."""

    def parse(text: str) -> int:
        # int() would take " 1_0 " and other scripts' digits too.
        is_number = text.isascii() and text.isdigit() and len(text) <= len(str(at_most))
        if not is_number or not at_least <= int(text) <= at_most:
            raise ValueError(f"a whole number from {at_least} to {at_most}")
        return int(text)

    return parse


def parse_choice(*words: Word) -> Callable[[str], Word]:
    """Return a parser of one of ``words``, which may be all members of an enumeration of strings."""

    def parse(text: str) -> Word:
        for word in words:
            if word == text:
                return word
        raise ValueError(" or ".join(words))

    return parse


def split_list(text: str) -> tuple[str, ...]:
    """Return the parts between commas that are not blank."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


# --- fields ---


def setting(
    parse: Callable[[str], Value], default: str | None, *, production: str | None = _SAME, is_secret: bool = False
) -> Value:
    """Declare a setting: its parser, and its default as text, in production another; without any it is ``None``."""
    metadata = {
        "parse": parse,
        "default": default,
        "production": default if production is _SAME else production,
        "is_secret": is_secret,
    }
    field: Value = dataclasses.field(metadata=metadata, repr=not is_secret)
    return field


def list_settings(settings: DataclassInstance | type[DataclassInstance]) -> list[dataclasses.Field[Any]]:
    """Return the fields that are read from the environment."""
    return [field for field in dataclasses.fields(settings) if "parse" in field.metadata]


def read_values(
    settings_class: type[DataclassInstance], environ: Mapping[str, str], *, prefix: str = ""
) -> tuple[dict[str, Any], list[str]]:
    """Return the values of all fields that are right, defaults included, and what is wrong with the others.

    In the environment their names begin with ``prefix``. An empty text is none. No fault shows a secret.
    """
    values: dict[str, Any] = {}
    faults: list[str] = []
    default = "production" if environ.get("APP_ENV") == "production" else "default"
    for field in list_settings(settings_class):
        name = prefix + field.name.upper()
        text = environ.get(name) or field.metadata[default]
        try:
            values[field.name] = None if text is None else field.metadata["parse"](text)
        except ValueError as error:
            # A URL may carry a password where none belongs.
            is_secret = field.metadata["is_secret"] or ("://" in text and "@" in text)
            expected, _, _got = str(error).removeprefix("expected ").partition("; got ")
            shown = "" if is_secret else f", got {text[:80]!r}"
            faults.append(f"{name}: expected {expected}{shown if text else ', got none'}")
    return values, faults


def describe_values(settings: DataclassInstance, *, prefix: str = "") -> dict[str, object]:
    """Return every setting by its name in the environment, as JSON can hold it, secrets masked."""
    return {
        prefix + field.name.upper(): MASK if field.metadata["is_secret"] and value else _describe(value)
        for field in list_settings(settings)
        for value in [getattr(settings, field.name)]
    }


def _describe(value: object) -> object:
    if isinstance(value, tuple):
        return tuple(map(str, value))
    return value if value is None or isinstance(value, bool | int) else str(value)
