"""Parts of an extension of a type that says nothing."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from app.config import Settings
from app.environment import SettingsError, parse_text, setting
from app.extending import Extension, ExtensionsRefused
from app.product import load_extensions
from gatehouse.testing.databases import TEST_ENVIRON


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("version", 1),
        ("needs_product", 5),
        ("models", 7),
        ("blueprints", None),
        ("permissions", ["a:b"]),
        ("limits", "10/minute"),
        ("commands", 5),
        ("migrations", "migrations"),
        ("on_user_deletion", []),
        ("export_user", "yes"),
        ("check_health", 1),
    ],
)
def test_a_part_of_a_wrong_type_is_one_fault(part: str, value: Any) -> None:
    parts: dict[str, Any] = {"name": "acme_stock", "version": "1.0", "face": 1} | {part: value}
    with pytest.raises(ExtensionsRefused) as refused:
        load_extensions(Settings.from_environ(TEST_ENVIRON), [Extension(**parts)])
    (fault,) = refused.value.faults
    assert fault.startswith(f"acme_stock: its {part} is a {type(value).__name__}: make it a")


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("models", [None]),
        ("blueprints", [None]),
        ("permissions", {None: "See the stock"}),
        ("permissions", {"stock:read": None}),
        ("limits", {"export": None}),
        ("commands", [None]),
    ],
)
def test_something_of_a_wrong_type_within_a_part_is_one_fault(part: str, value: Any) -> None:
    (fault,) = find_faults(**{part: value})
    assert fault.startswith(f"acme_stock: its {part} has a NoneType in it: make it a")


@pytest.mark.parametrize("version", ["", "  ", "1.0\n", "1\x1b[2J", "1" * 65])
def test_a_version_that_says_nothing_or_would_disturb_a_list_is_one_fault(version: str) -> None:
    (fault,) = find_faults(version=version)
    assert fault.startswith(f"acme_stock: its version {version!r}: write a text such as 1.0")


def find_faults(**parts: Any) -> list[str]:
    """Return what stops the start with an extension of these parts."""
    standard: dict[str, Any] = {"name": "acme_stock", "version": "1.0", "face": 1}
    try:
        load_extensions(Settings.from_environ(TEST_ENVIRON), [Extension(**standard | parts)])
    except SettingsError as error:
        return error.faults
    return []


def test_what_is_no_extension_is_told_and_not_raised() -> None:
    nameless: Any = Extension(name=7, version="1.0", face=1)  # type: ignore[arg-type] # what is tested
    with pytest.raises(ExtensionsRefused) as refused:
        load_extensions(Settings.from_environ(TEST_ENVIRON), ["acme_stock", nameless])  # type: ignore[list-item] # likewise
    first, second = refused.value.faults
    assert first == "what create_app was given: 'acme_stock' is no Extension with a name"
    assert second.endswith("is no Extension with a name")


@pytest.mark.parametrize(("is_secret", "told"), [(False, "ValueError: no key hunter2"), (True, "ValueError")])
def test_settings_that_cannot_be_made_are_one_fault_that_quotes_no_secret(is_secret: bool, told: str) -> None:  # noqa: FBT001 - a case
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class StockSettings:
        key: str = setting(parse_text, "hunter2", is_secret=is_secret)

        def __post_init__(self) -> None:
            raise ValueError(f"no key {self.key}")

    assert find_faults(settings=StockSettings) == [f"acme_stock: its settings StockSettings cannot be made: {told}"]


def test_a_parser_that_fails_is_one_fault() -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class StockSettings:
        unit: str = setting({"kg": "kilogram"}.__getitem__, "stone")

    (fault,) = find_faults(settings=StockSettings)
    assert fault == "acme_stock: its settings StockSettings cannot be made: KeyError: 'stone'"
