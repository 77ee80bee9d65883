"""Each rule about what an extension says and serves is seen to fail on one that breaks it, and to let a good one be.

What needs tables of the extension's own is in ``project/``.
"""

from __future__ import annotations

import re
import sys
import uuid
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from flask import Response
from marshmallow import fields
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from app import create_app
from app.config import Settings
from gatehouse import FACE, AppError, Blueprint, Conflict, Extension, Input, NotFound, Output, Text, public, requires
from gatehouse.testing.fixtures import close
from gatehouse.testing.rules import list_faults
from gatehouse.testing.rules.declarations import (
    find_foreign_imports,
    find_wrong_columns,
    find_wrong_constraints,
    find_wrong_errors,
    find_wrong_faces,
    find_wrong_tables,
)
from gatehouse.testing.rules.migrations import (
    find_columns_without_default,
    find_crowded_migrations,
    find_missing_migrations,
)
from gatehouse.testing.rules.operations import (
    find_accepted_bad_input,
    find_unchecked_permissions,
    find_undeclared_answers,
    find_undocumented,
    find_unguarded,
)
from gatehouse.testing.rules.subject import Subject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class WordInput(Input):
    """A word."""

    word = Text(required=True, min_length=1, max_length=9, metadata={"example": "yes"})


class WordOutput(Output):
    """A word."""

    word = fields.String(required=True)


class LaxInput(Input):
    """Anything."""

    word = fields.String(required=True, metadata={"example": "yes"})


class AcmeGone(NotFound):
    """There is nothing here."""


def make_blueprint() -> Blueprint:
    return Blueprint("acme_words", "acme_words", url_prefix="/api/v1/words", description="Words")


def make_good() -> Blueprint:
    blueprint = make_blueprint()

    @blueprint.route("", methods=["POST"])
    @blueprint.response(200, WordOutput)
    @blueprint.arguments(WordInput)
    @requires("words:write")
    def send_word(body: dict[str, Any]) -> Any:
        """Send a word."""
        return body

    @blueprint.route("/<uuid:word_id>")
    @blueprint.response(200, WordOutput)
    @blueprint.raises(AcmeGone)
    @requires("words:write")
    def get_word(word_id: uuid.UUID) -> Any:
        """Get a word."""
        raise AcmeGone(f"There is no word {word_id}.")

    return blueprint


def make_extension(*blueprints: Blueprint, **parts: Any) -> Extension:
    said: dict[str, Any] = {"version": "1", "face": FACE, "permissions": {"words:write": "Send words"}} | parts
    return Extension(name="acme_words", blueprints=blueprints, **said)


@pytest.fixture
def serve(environ: dict[str, str]) -> Callable[[Extension], Subject]:
    """Serve an extension, on a database without tables of its own."""
    return lambda extension: Subject(create_app(Settings.from_environ(environ), [extension]), extension, {})


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The main module of the extension's package, still empty."""
    folder = tmp_path / "acme_words"
    folder.mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "acme_words", raising=False)
    (folder / "__init__.py").touch()
    yield folder / "__init__.py"
    sys.modules.pop("acme_words", None)


def test_a_good_extension_breaks_no_rule(serve: Callable[[Extension], Subject], package: Path) -> None:
    package.write_text("import gatehouse.testing\nfrom gatehouse import db\n")
    extension = make_extension(make_good())
    assert list(list_faults(extension, lambda **_: serve(extension).app, {})) == []


def test_one_that_cannot_be_served_is_told_why(serve: Callable[[Extension], Subject], package: Path) -> None:
    package.touch()
    extension = make_extension(make_good(), permissions={"words:read": "Read words"})
    assert [fault for fault in list_faults(extension, lambda **_: serve(extension).app, {}) if "words:write" in fault]


def test_another_face_is_found() -> None:
    assert list(find_wrong_faces(make_extension(face=FACE + 1)))


@pytest.mark.parametrize(
    "line",
    ["import app", "from app.models import User", "from gatehouse._app import clock", "from gatehouse import _app"],
)
def test_an_import_of_what_is_behind_the_face_is_found(line: str, package: Path) -> None:
    (package.parent / "routes.py").write_text(f"\n{line}\n")
    assert [fault.partition(" ")[0] for fault in find_foreign_imports(make_extension())] == ["acme_words/routes.py:2"]


@pytest.mark.parametrize(
    ("name", "base", "said"), [("UserNotFound", NotFound, {}), ("AcmeBroken", Conflict, {"code": "Not a word"})]
)
def test_a_code_that_is_another_s_or_no_word_is_found(name: str, base: type[AppError], said: dict[str, str]) -> None:
    extension = Extension(name=f"acme_{name.lower()}", version="1", face=FACE)
    error = type(name, (base,), {"__module__": extension.name, **said})
    assert [fault.split()[2] for fault in find_wrong_errors(extension)] == [error.__name__]


class Elsewhere(DeclarativeBase):
    """Has tables that the product does not hear of."""


class Bad(Elsewhere):
    __tablename__ = "words"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]
    __table_args__ = (sa.Index("ix_" + 61 * "x", "text"),)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (find_wrong_tables, ["the table words does not begin with acme_words"]),
        (find_wrong_columns, ["the column words.text has no length"]),
        (find_wrong_constraints, ["a PrimaryKeyConstraint of words has no name", "of more than 63 bytes"]),
        (find_missing_migrations, ["it has models and no migrations"]),
    ],
)
def test_a_model_that_not_every_database_takes_as_it_is_is_found(
    rule: Callable[[Extension], Iterator[str]], said: list[str]
) -> None:
    faults = list(rule(make_extension(models=(Bad,))))
    assert len(faults) == len(said)
    assert all(part in fault for part, fault in zip(said, faults, strict=True)), faults


def test_a_table_of_no_listed_model_is_found() -> None:
    # Of the product, which has it, as if it were an extension of that name.
    faults = list(find_wrong_tables(Extension(name="user", version="1", face=FACE)))
    assert ["user_roles belongs to no model" in fault for fault in faults] == [True]


MIGRATION = """
import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    {}


def downgrade() -> None:
    {}
"""
MAKE = 'op.create_table("acme_words", sa.Column("id", sa.Integer(), primary_key=True))'
BAD_MIGRATIONS = {
    "two changes": (f'{MAKE}; op.drop_table("x")', "pass", find_crowded_migrations, "makes 2 changes"),
    "a column that rows cannot take": (
        'op.add_column("x", sa.Column("y", sa.Integer(), nullable=False))',
        "pass",
        find_columns_without_default,
        "adds a column to x that may not be null",
    ),
    "a column that rows cannot take, in a batch": (
        'with op.batch_alter_table("x") as b: b.add_column(sa.Column("y", sa.Integer(), nullable=False))',
        "pass",
        find_columns_without_default,
        "adds a column to x that may not be null",
    ),
}


@pytest.mark.parametrize(("up", "down", "rule", "said"), BAD_MIGRATIONS.values(), ids=BAD_MIGRATIONS)
def test_a_migration_that_says_something_wrong_is_found(
    up: str, down: str, rule: Callable[[Extension], Iterator[str]], said: str, tmp_path: Path
) -> None:
    (tmp_path / "0001_words.py").write_text(MIGRATION.format(up, down))
    faults = list(rule(make_extension(migrations=tmp_path)))
    assert [said in fault for fault in faults] == [True]


def test_a_table_with_its_indexes_is_one_change(tmp_path: Path) -> None:
    up = f"""{MAKE}
    op.create_index("ix_acme_words_id", "acme_words", ["id"])
    with op.batch_alter_table("acme_words") as batch:
        batch.create_index("ix_acme_words_more", ["id"])"""
    (tmp_path / "0001_words.py").write_text(MIGRATION.format(up, "pass"))
    assert list(find_crowded_migrations(make_extension(migrations=tmp_path))) == []


@pytest.mark.parametrize(
    ("up", "down", "said"),
    [
        (MAKE, 'op.drop_table("acme_words")', ["remove table acme_words", "remove table acme_words"]),
        (MAKE, "pass", ["remove table acme_words", "leave acme_words when they go down"]),
        ("pass", 'op.drop_table("audit_entries")', ["drop audit_entries, which are not its own"]),
        ('op.execute("nonsense")', "pass", ["The upgrade of 0001, a migration of acme_words, failed"]),
    ],
    ids=["makes what no model describes", "does not go down", "drops what is not its own", "fails"],
)
@pytest.mark.every_database
def test_a_migration_that_does_something_wrong_is_found(
    up: str, down: str, said: list[str], environ: dict[str, str], make_database: Callable[..., str], package: Path
) -> None:
    migrations = package.parent / "migrations"
    migrations.mkdir()
    (migrations / "0001_words.py").write_text(MIGRATION.format(up, down))
    extension = make_extension(migrations=migrations)
    url = make_database(is_migrated=False)
    app = create_app(Settings.from_environ(environ | {"DATABASE_URL": url}), [extension])
    faults = [fault for fault in list_faults(extension, lambda **_: app, {}) if "imported" not in fault]
    close(app)
    assert len(faults) == len(said), faults
    assert all(part in fault for part, fault in zip(said, faults, strict=True)), faults


@pytest.fixture
def lax(request: pytest.FixtureRequest) -> Blueprint:
    """A blueprint with one view that is decorated by what the test names."""
    blueprint = make_blueprint()

    def take(*_: object, **__: object) -> Any:
        """Take anything."""
        return Response("{}", mimetype="application/json")

    view: Any = take
    for decorate in request.param:
        view = decorate(blueprint, view)
    return blueprint


def allow(_blueprint: Blueprint, view: Any) -> Any:
    return public(view)


def guard(_blueprint: Blueprint, view: Any) -> Any:
    return requires("words:write")(view)


def hide(_blueprint: Blueprint, view: Any) -> Any:
    view.__doc__ = None
    return view


def answer(blueprint: Blueprint, view: Any) -> Any:
    return blueprint.response(200, WordOutput)(view)


def answer_something(blueprint: Blueprint, view: Any) -> Any:
    return blueprint.response(200)(view)


def take_anything(blueprint: Blueprint, view: Any) -> Any:
    return blueprint.arguments(LaxInput)(view)


def route(blueprint: Blueprint, view: Any) -> Any:
    return blueprint.route("", methods=["POST"])(view)


def lose(_blueprint: Blueprint, _view: Any) -> Any:
    def fail(*_: object) -> Any:
        """Fail."""
        raise AcmeGone

    return fail


def crash(_blueprint: Blueprint, _view: Any) -> Any:
    def fail(*_: object) -> Any:
        """Fail."""
        raise ZeroDivisionError

    return fail


BAD = {
    "a view without a docstring": ([hide, guard, answer, route], find_undocumented, "has no summary"),
    "an answer that is not described": ([guard, route], find_undocumented, "does not say what"),
    "an answer without a schema": ([guard, answer_something, route], find_undocumented, "name its schema"),
    "a body without bounds": ([guard, take_anything, answer, route], find_accepted_bad_input, "was answered 200"),
    "an error that is not declared": ([lose, guard, answer, route], find_undeclared_answers, "acme_gone"),
    "a view that fails": ([crash, guard, answer, route], find_undeclared_answers, "500"),
}


@pytest.mark.parametrize(("lax", "rule", "said"), BAD.values(), ids=BAD, indirect=["lax"])
def test_what_a_route_does_wrong_is_found(
    lax: Blueprint,
    rule: Callable[[Subject], Iterator[str]],
    said: str,
    serve: Callable[[Extension], Subject],
) -> None:
    faults = list(rule(serve(make_extension(lax))))
    assert faults
    assert re.search(said, faults[0])
    assert faults[0].startswith("POST /api/v1/words")


def test_routes_that_let_everybody_in_are_found(serve: Callable[[Extension], Subject]) -> None:
    subject = serve(make_extension(make_good()))
    for functions in subject.app.before_request_funcs.values():
        functions[:] = [function for function in functions if function.__name__ != "enforce_guard"]
    assert {fault.partition(" answered")[0] for fault in find_unguarded(subject)} == {
        "POST /api/v1/words",
        "GET /api/v1/words/{word_id}",
    }
    # What is not there may be said to be not there.
    assert ["POST" in fault for fault in find_unchecked_permissions(subject)] == [True]


def fail(_: object) -> Any:
    raise KeyError("x")


def answer_no_json(_: object) -> Any:
    return {"at": object()}


def describe_others(_: object) -> Any:
    return {uuid.uuid4(): {}}


class Remembering:
    """A hook that tells all that it was ever asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, user_id: uuid.UUID) -> Any:
        self.asked.append(str(user_id))
        return list(self.asked)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"export_user": fail}, "export_user failed: KeyError"),
        ({"export_user": answer_no_json}, "JSON cannot hold"),
        ({"export_user": Remembering()}, "of another"),
        ({"describe_users": fail}, "describe_users failed: KeyError"),
        ({"describe_users": describe_others}, "not asked for"),
    ],
)
def test_what_a_hook_does_wrong_is_found(
    parts: dict[str, Any], said: str, serve: Callable[[Extension], Subject], package: Path
) -> None:
    assert package.exists()
    extension = make_extension(**parts)
    assert any(said in fault for fault in list_faults(extension, lambda **_: serve(extension).app, {}))
