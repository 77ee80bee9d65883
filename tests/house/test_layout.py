"""Rules about how the code is laid out: names, and sizes that fit a reader's head."""

from __future__ import annotations

import ast
import importlib
from typing import Final

import pytest

from app.config import ROOT
from app.routes import BLUEPRINTS

FOLDERS: Final = ("app", "bench", "gatehouse", "tests")
# Without what scripts/bench.sh installs into bench/.venv, which is not ours.
SOURCES: Final = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in (ROOT / "run.py", *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")))
    if ".venv" not in path.relative_to(ROOT).parts
}
MAX_FUNCTION_LINES: Final = 60
MAX_FILE_LINES: Final = 400
# What is longer, and why.
LONG_FUNCTIONS: Final = {
    ("app/migrations/versions/0001_accounts.py", "upgrade"): "a migration is one list of tables, and is never changed",
    ("app/migrations/versions/0004_life_of_an_account.py", "upgrade"): "likewise",
}
ROUTES: Final = sorted(path.stem for path in (ROOT / "app" / "routes").glob("[!_]*.py"))


@pytest.mark.parametrize("name", ROUTES)
def test_a_blueprint_is_named_as_its_file(name: str) -> None:
    blueprint = importlib.import_module(f"app.routes.{name}").blueprint
    assert blueprint.name == name
    assert blueprint in BLUEPRINTS, "a blueprint that is not listed serves nothing"


def test_no_function_is_longer_than_a_screen() -> None:
    long = {
        (file, node.name)
        for file, source in SOURCES.items()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno >= MAX_FUNCTION_LINES
    }
    assert long == LONG_FUNCTIONS.keys()


def test_no_file_is_longer_than_one_topic_needs() -> None:
    assert [file for file, source in SOURCES.items() if source.count("\n") > MAX_FILE_LINES] == []
