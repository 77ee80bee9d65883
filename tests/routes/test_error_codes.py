"""A code means one thing in an application, whoever declares it."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any

import pytest

from app import create_app
from app.config import Settings
from app.extending import Extension
from app.http.openapi import Blueprint
from app.security import requires
from app.services.accounts import UserNotFound
from app.utils import AppError, NotFound
from gatehouse.testing.databases import TEST_ENVIRON
from gatehouse.testing.fixtures import close

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.no_database


def make_error(name: str, owner: str, *, base: type[AppError] = NotFound, **options: Any) -> type[AppError]:
    made: type[AppError] = types.new_class(
        name, (base,), options, lambda body: body.update(__module__=f"{owner}.errors")
    )
    return made


def make_extension(name: str, *errors: type[AppError]) -> Extension:
    """Return an extension with a route that may answer with ``errors``."""
    blueprint = Blueprint(name, f"{name}.routes", url_prefix=f"/api/v1/{name}", description="Notes")

    def look() -> dict[str, str]:
        """Look."""
        return {}

    look.__name__ = f"look_{name}"
    blueprint.route("")(blueprint.response(200)(blueprint.raises(*errors)(requires()(look))))
    return Extension(name=name, version="1", face=1, blueprints=[blueprint])


def start(folder: Path, *extensions: Extension) -> None:
    """Make an application with ``extensions``."""
    environ = TEST_ENVIRON | {"DATABASE_URL": f"sqlite:///{folder}/unused.db"}
    close(create_app(Settings.from_environ(environ), extensions))


def test_two_extensions_with_one_code_are_both_named(tmp_path: Path) -> None:
    ours, theirs = make_error("NoteNotFound", "notes"), make_error("NoteNotFound", "memos")
    start(tmp_path, make_extension("notes", ours))
    with pytest.raises(
        LookupError, match=r"memos\.errors\.NoteNotFound and notes\.errors\.NoteNotFound both have the code"
    ):
        start(tmp_path, make_extension("notes", ours), make_extension("memos", theirs))
    # The one without the other: two applications in a process do not know of each other.
    start(tmp_path, make_extension("memos", theirs))


def test_an_extension_takes_no_code_of_the_product(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="both have the code user_not_found: rename one"):
        start(tmp_path, make_extension("notes", make_error("UserNotFound", "notes")))


def test_an_extension_may_answer_with_the_products_errors_and_with_cases_of_them(tmp_path: Path) -> None:
    case = make_error("AuthorNotFound", "notes", base=UserNotFound, has_own_code=False)
    assert case.code == "user_not_found"
    start(tmp_path, make_extension("notes", NotFound, UserNotFound, case))
    assert make_error("InvoiceNumberTaken", "notes").code == "invoice_number_taken"
