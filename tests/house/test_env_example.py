"""``.env.example`` and the settings say the same."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import pytest

from app.config import ROOT, Settings
from app.environment import list_settings
from tests.servers.harness.tls import Authority

if TYPE_CHECKING:
    from pathlib import Path

LINES: Final = (ROOT / ".env.example").read_text().splitlines()
DEFAULTS: Final = [line[1:].partition("=")[::2] for line in LINES if re.match(r"#[A-Z_]+=", line)]
FORMS: Final = [line[4:].partition("=")[::2] for line in LINES if re.match(r"#   [A-Z_]+=", line)]
FIELDS: Final = {field.name.upper(): field for field in list_settings(Settings)}


def test_every_setting_is_documented_once_in_the_order_of_the_class() -> None:
    assert [name for name, _ in DEFAULTS] == list(FIELDS)


def test_nothing_in_the_example_is_in_force_as_it_stands() -> None:
    assert [line for line in LINES if line and not line.startswith("#")] == []


@pytest.mark.parametrize(("name", "value"), DEFAULTS)
def test_the_default_that_is_shown_is_the_default(name: str, value: str) -> None:
    assert value == (FIELDS[name].metadata["default"] or "")


@pytest.mark.parametrize(("name", "value"), FORMS)
def test_every_form_that_is_shown_is_accepted(name: str, value: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    FIELDS[name].metadata["parse"](re.sub(r"/etc/ssl/[\w.-]+", str(authority.path), value))


def test_the_forms_cover_every_database_and_every_kind_of_redis() -> None:
    shown = {value.partition("://")[0] for name, value in FORMS if name in {"DATABASE_URL", "RATELIMIT_STORAGE_URI"}}
    assert shown >= {"sqlite", "postgresql", "mysql", "redis", "rediss", "unix", "redis+sentinel", "redis+cluster"}
