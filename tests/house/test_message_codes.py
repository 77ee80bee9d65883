"""The codes of what is wrong with a field: fronts have words for them, so that none may be renamed."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from marshmallow import fields

from app.config import ROOT
from app.schemas import messages

if TYPE_CHECKING:
    from collections.abc import Iterator

KNOWN: Final = (Path(__file__).parent / "message_codes.txt").read_text().split()


def list_codes(path: Path) -> Iterator[str]:
    """Return the codes that a file gives its messages, and those that its fields have as keys of their texts."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Message" and len(node.args) > 1:
            yield str(ast.literal_eval(node.args[1]))
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "default_error_messages":
            yield from ast.literal_eval(node.value)


def list_bare_texts(path: Path) -> Iterator[str]:
    """Return what a file refuses in words alone."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.keyword) and node.arg == "errors":
            for texts in (each for each in ast.walk(node.value) if isinstance(each, ast.List)):
                for text in texts.elts:
                    if isinstance(text, ast.Constant | ast.JoinedStr | ast.Attribute):
                        yield f"{path.name}: {ast.unparse(text)}"


def list_constants(path: Path) -> Iterator[str]:
    """Return every text of a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_fronts_find_the_codes_that_they_always_found() -> None:
    given = {
        code for path in (ROOT / "app").rglob("*.py") if path != Path(messages.__file__) for code in list_codes(path)
    }
    named = set(list_constants(Path(messages.__file__))) | set(list_constants(ROOT / "app" / "http" / "problems.py"))
    keys = {
        key
        for _, field in inspect.getmembers(fields, inspect.isclass)
        for key in vars(field).get("default_error_messages", {})
    }
    assert sorted(set(KNOWN) - given - named - keys) == []
    assert [code for code in {*KNOWN, *given} if not re.fullmatch(r"[a-z]+(_[a-z]+)*", code)] == []


def test_what_the_product_refuses_in_words_has_a_code() -> None:
    assert [text for path in sorted((ROOT / "app").rglob("*.py")) for text in list_bare_texts(path)] == []


def test_each_is_told_on_the_page_about_errors() -> None:
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "docs" / "errors.md").read_text(), re.MULTILINE)
    assert sorted(code for row in rows for code in re.findall(r"`(\w+)`", row)) == KNOWN
