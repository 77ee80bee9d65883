"""``flask new``: what is written, and what is refused before anything is."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from app.cli.fields import KINDS
from app.cli.generator import make_plural
from app.config import ROOT

if TYPE_CHECKING:
    from flask import Flask

pytestmark = pytest.mark.no_database

EVERY_TYPE = (
    "name:text:unique", "number:int:unique", "status:enum=draft,sent,void", "weight:decimal", "is_ok:bool",
    "due_on:date", "sent_at:datetime", "note:text", "customer:user",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, in which the commands run."""
    folder = tmp_path / "acme"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def run(app: Flask, *args: str) -> Any:
    return app.test_cli_runner().invoke(args=["new", *args])


def list_files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_first_resource_brings_its_extension(app: Flask, folder: Path) -> None:
    dry = run(app, "resource", "Invoice", "number:text", "--dry-run", "--json")
    assert list_files(folder) == set()
    done = run(app, "resource", "Invoice", "number:text", "--json")
    assert done.exit_code == 0, done.output
    written = json.loads(done.output)
    assert written["written"] is True
    assert list_files(folder) == set(written["files"]) == set(json.loads(dry.output)["files"])
    assert (folder / ".env").read_text() == "APP_EXTENSIONS=acme\n"
    assert stat.S_IMODE((folder / ".env").stat().st_mode) == 0o600
    assert "acme/invoices/models.py" in written["files"]


def test_a_second_resource_leaves_what_is_there_and_says_what_to_add(app: Flask, folder: Path) -> None:
    run(app, "extension", "acme_shop")
    before = (folder / "acme_shop" / "__init__.py").read_text()
    first = run(app, "resource", "Order", "number:text", "buyer:user")
    second = run(app, "resource", "LineItem", "number:int")
    assert (first.exit_code, second.exit_code) == (0, 0), first.output + second.output
    assert (folder / "acme_shop" / "__init__.py").read_text() == before
    assert 'to on_user_deletion: Order: "refuse"' in first.output
    assert "from .line_items.models import LineItem" in second.output
    migrations = sorted(path.name for path in (folder / "acme_shop" / "migrations").glob("*.py"))
    assert migrations == ["0001_orders.py", "0002_line_items.py"]
    assert 'down_revision = "0001"' in (folder / "acme_shop" / "migrations" / "0002_line_items.py").read_text()


def test_nothing_is_overwritten_and_nothing_written_beside_it(app: Flask, folder: Path) -> None:
    (folder / "tests").mkdir()
    (folder / "tests" / "test_invoices.py").write_text("mine")
    refused = run(app, "resource", "Invoice", "number:text")
    assert refused.exit_code == 1
    assert "tests/test_invoices.py" in refused.output
    assert list_files(folder) == {"tests/test_invoices.py"}


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["Invoice"], ["at least one field"]),
        (["invoice", "number:text"], ["called as a class"]),
        (["User", "number:text"], ["name of something of Gatehouse's"]),
        (["Session", "number:text"], ["keeps for itself"]),
        (["Invoice", "number"], ["write NAME:TYPE"]),
        (["Invoice", "number:string"], ["text, int, decimal"]),
        (["Invoice", "class:text"], ["a field's name"]),
        (["Invoice", "Number:text"], ["a field's name"]),
        (["Invoice", "created_at:date"], ["means something else"]),
        (["Invoice", "owner:user"], ["means something else"]),
        (["Invoice", "a:text", "a:int"], ["a: two fields"]),
        (["Invoice", "a:user", "b:user"], ["two fields refer to users"]),
        (["Invoice", "status:enum"], ["status:enum=draft,sent"]),
        (["Invoice", "status:enum=one"], ["status:enum=draft,sent"]),
        (["Invoice", "status:enum=one,one"], ["status:enum=draft,sent"]),
        (["Invoice", "status:enum=One,two"], ["status:enum=draft,sent"]),
        (["Invoice", "number:text=5"], ["write NAME:TYPE"]),
        (["Invoice", "paid:bool:unique"], ["only a text or an int"]),
        (["Invoice", "number:text:index"], [":unique and nothing else"]),
        (["Invoice", "x:nothing", "class:text", "id:int"], ["x:nothing", "class:text", "id:int"]),
        (["Invoice", "n:text", "--extension", "mail_invoices"], ["keeps for itself"]),
        (["Invoice", "n:text", "--extension", "Acme"], ["small letters"]),
        (["A" * 31, "n:text"], ["called as a class"]),
    ],
)
def test_what_cannot_be_is_told_at_once_and_nothing_written(
    app: Flask, folder: Path, args: list[str], told: list[str]
) -> None:
    refused = run(app, "resource", *args)
    assert refused.exit_code == 1, refused.output
    assert all(text in refused.output for text in told), refused.output
    assert list_files(folder) == set()


def test_of_several_extensions_one_has_to_be_named(app: Flask, folder: Path) -> None:
    assert run(app, "extension", "users").exit_code == 1
    for name in ("acme_shop", "acme_books"):
        package = folder / name
        package.mkdir()
        (package / "__init__.py").write_text("extension = Extension(\n")
    assert "--extension with one of acme_books, acme_shop" in run(app, "resource", "Order", "n:text").output
    assert run(app, "resource", "Order", "n:text", "--extension", "acme_shop").exit_code == 0


def test_plurals_are_those_of_regular_nouns() -> None:
    nouns = {"invoice": "invoices", "category": "categories", "day": "days", "box": "boxes", "address": "addresses"}
    assert {noun: make_plural(noun) for noun in nouns} == nouns


def test_the_example_s_resource_is_what_is_written_and_one_limit(app: Flask, folder: Path) -> None:
    fields = "number:text:unique customer:user status:enum=draft,sent,void total:decimal is_paid:bool due_on:date"
    assert run(app, "resource", "Invoice", *fields.split(), "--extension", "acme_invoices").exit_code == 0
    example = ROOT / "examples" / "invoices" / "acme_invoices"
    added = set()
    for path in (*folder.rglob("acme_invoices/invoices/*.py"), *folder.rglob("acme_invoices/migrations/*.py")):
        written = path.read_text().splitlines()
        kept = (example / path.relative_to(folder / "acme_invoices")).read_text().splitlines()
        added |= {line for line in kept if line not in written}
        assert len(kept) - len(written) == (path.name == "routes.py"), path
    assert added == {
        '@rate_limit("RATELIMIT_ACME_INVOICES_EXPORT", by=user)',
        "from gatehouse import Blueprint, InvalidCursor, answer_csv, get_actor, rate_limit, requires, user",
    }


@pytest.mark.server("postgresql")
@pytest.mark.server("mariadb")
@pytest.mark.usefixtures("folder")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("fields", [EVERY_TYPE, ("rank:int",)], ids=["every type", "one field"])
def test_what_is_written_passes_its_own_tests_and_ours(app: Flask, fields: tuple[str, ...]) -> None:
    assert {field.split(":")[1].partition("=")[0] for field in EVERY_TYPE} == {*KINDS, "enum"}
    assert run(app, "resource", "LineItem", *fields).exit_code == 0
    python = [sys.executable, "-m"]
    ignored = "ANN401,D103,I001,INP001,S101"
    config = ["--config", str(ROOT / "pyproject.toml"), "--no-cache"]
    for command in (
        [*python, "pytest", "-p", "gatehouse.testing", "-q", "-p", "no:cacheprovider"],
        [*python, "ruff", "format", "--check", *config, "."],
        [*python, "ruff", "check", "--ignore", ignored, *config, "."],
    ):
        done = subprocess.run(
            command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
