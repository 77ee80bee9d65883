"""The rules about settings, limits and health are each seen to fail on an extension that breaks it."""

from __future__ import annotations

import dataclasses
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from app import create_app
from app.config import Settings
from gatehouse import FACE, Extension, parse_int, setting
from gatehouse.testing.rules.operators import (
    find_failing_health,
    find_undocumented_settings,
    find_unused_limits,
    find_wrong_defaults,
)
from gatehouse.testing.rules.subject import Subject

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def make_extension(**parts: Any) -> Extension:
    return Extension(name="acme_words", version="1", face=FACE, **parts)


@pytest.fixture
def serve(environ: dict[str, str]) -> Callable[[Extension], Subject]:
    """Serve an extension, on a database without tables of its own."""
    return lambda extension: Subject(create_app(Settings.from_environ(environ), [extension]), extension, {})


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The main module of the extension's package."""
    folder = tmp_path / "acme_words"
    folder.mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "acme_words", raising=False)
    (folder / "__init__.py").touch()
    return folder / "__init__.py"


@dataclasses.dataclass(frozen=True, kw_only=True)
class WordSettings:
    """Of which the defaults are wrong, each in its own way."""

    longest: int = setting(parse_int(at_least=1, at_most=9), "10")
    shortest: int = setting(parse_int(at_least=1, at_most=9), "1", production="0")
    good: int = setting(parse_int(at_least=1, at_most=9), "1")


def test_a_default_that_cannot_be_read_is_found_in_production_too() -> None:
    faults = list(find_wrong_defaults(make_extension(settings=WordSettings)))
    assert [("longest" in fault, "shortest" in fault) for fault in faults] == [(True, False), (False, True)]
    assert "a whole number from 1 to 9" in faults[0]


def test_settings_and_limits_that_the_readme_does_not_name_are_found(package: Path) -> None:
    extension = make_extension(settings=WordSettings, limits={"send": "1/minute"})
    assert list(find_undocumented_settings(extension)) == []
    readme = package.parent / "README.md"
    readme.write_text("ACME_WORDS_LONGEST, ACME_WORDS_SHORTEST and ACME_WORDS_GOOD")
    assert ["RATELIMIT_ACME_WORDS_SEND" in fault for fault in find_undocumented_settings(extension)] == [True]


def test_a_limit_that_no_route_has_is_found(serve: Callable[[Extension], Subject]) -> None:
    faults = list(find_unused_limits(serve(make_extension(limits={"send": "1/minute"}))))
    assert ['@rate_limit("RATELIMIT_ACME_WORDS_SEND")' in fault for fault in faults] == [True]


def hang() -> None:
    threading.Event().wait(5)


def lack() -> None:
    raise LookupError("no rates yet")


@pytest.mark.parametrize(
    ("check", "said"),
    [(hang, ["takes more than 1 s"]), (lack, ["LookupError: no rates yet"]), (lambda: None, [])],
    ids=["hangs", "fails", "is well"],
)
def test_a_health_check_that_hangs_or_fails_is_found(
    check: Callable[[], None], said: list[str], serve: Callable[[Extension], Subject]
) -> None:
    faults = list(find_failing_health(serve(make_extension(check_health=check))))
    assert len(faults) == len(said)
    assert all(part in fault for part, fault in zip(said, faults, strict=True)), faults
