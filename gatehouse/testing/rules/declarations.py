"""Rules about what an extension says of itself, and about its code."""

from __future__ import annotations

import ast
import importlib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from app.extending import FACE, Extension
from app.extending.tables import NAME_MAX_BYTES
from app.models import Base
from app.utils import AppError
from gatehouse.testing.rows import find_stored_type

_PRODUCT: Final = AppError.__module__.removesuffix(".utils")
"""The package that the product is imported as."""


def find_wrong_faces(extension: Extension) -> Iterator[str]:
    """The number of the face is one that this product offers."""
    if extension.face != FACE:
        yield f"it is written for face {extension.face}, and this product offers {FACE}: install versions that fit"


def find_foreign_imports(extension: Extension) -> Iterator[str]:
    """Of the product, the code imports what ``gatehouse`` offers and nothing behind it."""
    package = importlib.import_module(extension.name)
    for folder in map(Path, package.__path__):
        for path in sorted(folder.rglob("*.py")):
            for line, name in _list_imports(ast.parse(path.read_text())):
                if _is_behind(name):
                    yield (
                        f"{path.relative_to(folder.parent)}:{line} imports {name}, which may change with each release:"
                        " import from gatehouse"
                    )


def _list_imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.lineno, node.module
            if node.module == "gatehouse":
                yield from ((node.lineno, f"gatehouse.{alias.name}") for alias in node.names if alias.name[0] == "_")


def _is_behind(name: str) -> bool:
    first, _, rest = name.partition(".")
    if first == "gatehouse":
        return bool(rest) and rest.partition(".")[0] != "testing"
    # In a clone the product is called app; installed, somebody else's module may be.
    return first == "app" and _PRODUCT == "app"


def find_wrong_tables(extension: Extension) -> Iterator[str]:
    """Tables begin with the extension's name, and each has a model that the extension lists."""
    own = re.compile(rf"{re.escape(extension.name)}(_.+)?")
    listed = {model.__table__.name for model in extension.models}
    for name in sorted(listed):
        if not own.fullmatch(name):
            yield f"the table {name} does not begin with {extension.name}: call it {extension.name}_{name}"
    for name in sorted({name for name in Base.metadata.tables if own.fullmatch(name)} - listed):
        yield f"the table {name} belongs to no model that the extension lists: add its model to models"


def find_wrong_columns(extension: Extension) -> Iterator[str]:
    """Each text has a length: MariaDB makes no column of one without."""
    for model in extension.models:
        for column in model.__table__.columns:
            stored = find_stored_type(column.type)
            if isinstance(stored, sa.String) and not isinstance(stored, sa.Enum) and not stored.length:
                yield f"the column {column} has no length: write ExactString(100), or as many as it takes"


def find_wrong_constraints(extension: Extension) -> Iterator[str]:
    """Each table, constraint and index has a name that every database keeps whole."""
    for model in extension.models:
        table = model.__table__
        for thing in (table, *table.constraints, *table.indexes):
            kind = type(thing).__name__
            name = thing.name
            if not isinstance(name, str):
                yield f"a {kind} of {table.name} has no name: give it one, so that a migration can find it again"
            elif len(str(name).encode()) > NAME_MAX_BYTES:
                yield f"the {kind} {name} has a name of more than {NAME_MAX_BYTES} bytes: give it a shorter one by hand"


def find_wrong_errors(extension: Extension) -> Iterator[str]:
    """The code of each error is a stable word that no other error of the product or of the extension has."""
    errors = sorted(set(_list_errors(AppError)), key=lambda each: each.__name__)
    own = [error for error in errors if _is_from(error, extension.name) and "code" in vars(error)]
    counts = Counter(
        error.code for error in errors if _is_from(error, _PRODUCT) or error in own if "code" in vars(error)
    )
    for error in own:
        if counts[error.code] > 1:
            yield f"the error {error.__name__} has the code {error.code}, which another has: rename it"
        if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", error.code):
            yield f"the error {error.__name__} has the code {error.code}: write it as words_with_underscores"


def _is_from(error: type[AppError], package: str) -> bool:
    return f"{error.__module__}.".startswith(f"{package}.")


def _list_errors(root: type[AppError]) -> Iterator[type[AppError]]:
    yield root
    for error in root.__subclasses__():
        yield from _list_errors(error)
