"""The examples: small, and built on the public face alone."""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE: Final = Path(__file__).resolve().parents[2] / "examples" / "invoices" / "acme_invoices"
# Written by hand: migrations are written by ``flask db migrate``.
SOURCES: Final = [path for path in sorted(PACKAGE.rglob("*.py")) if "migrations" not in path.parts]
LINES_MAX: Final = 300
ALLOWED: Final = {"gatehouse", "click", "flask", "marshmallow", "sqlalchemy"}
_NO_CODE: Final = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def count_code(source: str) -> int:
    """Return the number of lines that hold more than blanks, a comment or a docstring."""
    prose = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    code = {
        line
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type not in _NO_CODE
        for line in range(token.start[0], token.end[0] + 1)
    }
    return len(code - prose)


def test_code_is_counted_without_docstrings_comments_and_blank_lines() -> None:
    assert count_code('"""Prose,\n\nmuch."""\n\n# A comment\nx = [\n    1,  # one\n]\n') == 3


def test_the_invoices_are_written_in_at_most_300_lines() -> None:
    assert sum(count_code(path.read_text()) for path in SOURCES) <= LINES_MAX


def list_imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (each.name.partition(".")[0] for each in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").partition(".")[0]


def test_the_invoices_import_nothing_of_ours_but_the_face() -> None:
    imported = {name for path in SOURCES for name in list_imports(path)} - sys.stdlib_module_names
    assert imported <= ALLOWED
