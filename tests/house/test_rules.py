"""Rules about the code itself: errors, migrations, commits, imports."""

from __future__ import annotations

import ast
import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from flask_migrate import downgrade, upgrade

import app as package
from app.cli.autogenerate import Autogenerate
from app.cli.migrations import Lineage
from app.config import ROOT
from app.extensions import db
from app.models import Base, list_product_tables
from app.utils import HTTP_CODES, AppError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flask import Flask

SOURCES: Final = sorted((ROOT / "app").rglob("*.py"))
# Words that say nothing about what is inside.
VAGUE: Final = {"helper", "helpers", "manager", "common", "misc", "base", "data"}

# Makers of state that a module would keep for the whole process; and the modules that keep some, or change another's,
# when they are imported.
KEEPERS: Final = {"Lock", "RLock", "WeakKeyDictionary", "WeakValueDictionary", "ContextVar", "local", "count", "deque"}
STATE: Final = {
    "cli/commands.py": "Click puts a command into its group",
    "database/deadlines.py": "a context variable: each request has its own",
    "emails.py": "the library has one list of special domains for the process",
    "guesses.py": "the library keeps what it is asked about in a global",
    "migrations/env.py": "Alembic runs the file",
    "ratelimit/engine.py": "Python calls only what a module registers when a process forks",
    "utils.py": "a context variable: each request has its own",
}

# Of what is opened to be written.
MODES: Final = {"w", "wb", "a", "ab", "x", "xb", "w+", "a+"}

# For each import rule of pyproject.toml: a file, and a line that breaks the rule there.
BREAKS: Final = {
    "Each room imports only from rooms below it": ("services/roles.py", "from app import routes"),
    "The product does not import its own public face": ("services/roles.py", "from gatehouse import Extension"),
    "Each part of the limiter imports only from parts below it": (
        "ratelimit/redis/server.py",
        "from app.ratelimit.fallback import LocalFallback",
    ),
    "Routes and schemas do not import SQLAlchemy": ("routes/user.py", "import sqlalchemy"),
    "Services, models and the database do not import Flask or Marshmallow": ("services/roles.py", "import flask"),
    "Only security imports the hashers": ("services/accounts.py", "import argon2"),
}


def list_errors(root: type[AppError] = AppError) -> Iterator[type[AppError]]:
    """Return every error of the product."""
    yield root
    for error in root.__subclasses__():
        if error.__module__.startswith("app."):
            yield from list_errors(error)


def test_there_is_one_commit_in_the_code() -> None:
    # The database's own room sets connections up, and writes no row.
    above = [path for path in SOURCES if (ROOT / "app" / "database") not in path.parents]
    calls = [path.name for path in above for _ in re.finditer(r"\.commit\(", path.read_text())]
    assert calls == ["extensions.py"]


def list_texts(path: Path) -> Iterator[str]:
    """Return every string of a file that is no docstring."""
    tree = ast.parse(path.read_text())
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.value


@pytest.mark.parametrize("room", ["database", "search"])
def test_the_rooms_below_the_models_name_no_table_of_theirs(room: str) -> None:
    tables = re.compile(rf"\b({'|'.join(list_product_tables())})(_|\b)")
    named = [
        (path.name, text)
        for path in sorted((ROOT / "app" / room).glob("*.py"))
        for text in list_texts(path)
        if tables.search(text)
    ]
    assert named == []


def list_state(path: Path) -> Iterator[str]:
    """Return what a module keeps for the whole process, or does to it, when it is imported."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            is_made = isinstance(node.value, ast.Call) and ast.unparse(node.value.func).rpartition(".")[2] in KEEPERS
            is_empty = ast.unparse(node.value) in {"{}", "[]", "set()", "dict()", "list()"}
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if is_made or is_empty or not all(isinstance(target, ast.Name | ast.Tuple) for target in targets):
                yield ast.unparse(node)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            yield ast.unparse(node)


def test_no_module_keeps_or_changes_what_is_the_whole_process_s_without_a_reason() -> None:
    found = {str(path.relative_to(ROOT / "app")) for path in SOURCES if list(list_state(path))}
    assert found == STATE.keys()


def test_a_file_has_a_telling_name() -> None:
    assert [path for path in SOURCES if VAGUE & {path.stem, path.parent.name}] == []


def test_the_codes_of_errors_are_stable_words_and_mean_one_thing() -> None:
    statuses: dict[str, set[int]] = {}
    owners: dict[str, set[str]] = {}
    for error in list_errors():
        statuses.setdefault(error.code, set()).add(error.status)
        if "code" in vars(error):
            owners.setdefault(error.code, set()).add(error.__name__)
    assert {code: names for code, names in owners.items() if len(names) > 1} == {}
    assert {code: found for code, found in statuses.items() if len(found) > 1} == {}
    assert [code for code in statuses if not re.fullmatch(r"[a-z]+(_[a-z]+)*", code)] == []
    for status, (code, _) in HTTP_CODES.items():
        assert statuses.get(code, {status}) == {status}


def test_programs_and_people_read_the_codes_and_titles_that_they_always_read() -> None:
    importlib.import_module("app.cli.commands")  # they have errors of their own
    # Most are made from a class's name, which may change; what clients see may not. Others may come.
    known = (Path(__file__).parent / "error_codes.txt").read_text().splitlines()
    assert {f"{error.status} {error.code} {error.title}" for error in list_errors()} >= set(known)


def test_every_error_says_what_happened_and_what_to_do() -> None:
    for error in list_errors():
        assert error.__doc__ or error.__name__.startswith("_"), error
        assert error.title
        assert error.detail.endswith((".", "!"))


def test_every_code_that_a_route_may_answer_with_is_in_the_document(app: Flask) -> None:
    document = app.test_client().get("/openapi.json").text
    used = {error.code for error in list_errors() if "code" in vars(error)}
    # Base classes of which only subclasses are raised, answers outside documented routes, and errors of commands.
    never = {"bad_request", "conflict", "forbidden", "not_found", "unknown_host"}
    commands = {"import_refused", "invalid_role_name", "unknown_permission"}
    missing = {code for code in used - never - commands if f"`{code}`" not in document}
    assert missing == set()


def test_limits_are_read_by_one_parser() -> None:
    readers = [
        path.name for path in SOURCES if re.search(r"^\s*(import|from) limits\b", path.read_text(), re.MULTILINE)
    ]
    assert readers == ["plan.py"]


def test_what_is_written_is_its_owners_alone_whatever_the_umask() -> None:
    found = []
    for path in SOURCES:
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        for call in calls:
            name = getattr(call.func, "attr", getattr(call.func, "id", ""))
            mode = next((each.value for each in call.keywords if each.arg == "mode"), None)
            written = [
                each.value for each in [*call.args, mode] if isinstance(each, ast.Constant) and each.value in MODES
            ]
            if name in {"write_text", "write_bytes", "touch"} or (name == "open" and written):
                found.append(path.name)
            elif name in {"mkdir", "makedirs"}:
                assert isinstance(mode, ast.Constant), path
                assert mode.value == 0o700, path
    # A lock, which holds nothing; code, which is its author's to share; and a pipe or device that the operator names.
    assert sorted(found) == ["locks.py", "new.py", "transfer.py"]


def test_nothing_prints_or_asserts_its_way_around_the_log() -> None:
    for path in SOURCES:
        if "cli" not in path.parts and "server" not in path.parts:
            calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
            assert not [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"], path


# --- models and migrations ---


def test_the_migrations_make_just_what_the_models_describe(app: Flask) -> None:
    with app.app_context(), db.engine.connect() as connection:
        opts = {"compare_type": True, "include_object": Autogenerate(Lineage(), connection).is_owned}
        context = MigrationContext.configure(connection, opts=opts)
        assert compare_metadata(context, Base.metadata) == []


def test_every_migration_goes_down_and_up_again(app: Flask) -> None:
    with app.app_context():
        before = describe(db.engine)
        downgrade(revision="base")
        assert set(sa.inspect(db.engine).get_table_names()) <= {"alembic_version"}
        upgrade()
        assert describe(db.engine) == before


def describe(engine: sa.Engine) -> list[tuple[str, ...]]:
    """Return the schema of the database, as SQLite keeps it."""
    with engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT type, name, sql FROM sqlite_master ORDER BY type, name"))
        return [tuple(str(value) for value in row) for row in rows]


def test_every_string_has_a_length_and_every_constraint_a_name() -> None:
    for table in (Base.metadata.tables[name] for name in list_product_tables()):
        for column in table.columns:
            if isinstance(column.type, sa.String | sa.types.TypeDecorator) and column.type.python_type is str:
                assert getattr(column.type, "length", None), column
        assert all(constraint.name for constraint in table.constraints), table


# --- the import rules ---


def run_lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the import rules of the project in ``folder``."""
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code to break rules in."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copy(ROOT / "pyproject.toml", folder)
    shutil.copytree(ROOT / "app", folder / "app", ignore=shutil.ignore_patterns("__pycache__", "static"))
    return folder


@pytest.mark.parametrize("name", BREAKS)
def test_each_import_rule_fails_when_it_is_broken(copy: Path, name: str) -> None:
    file, line = BREAKS[name]
    path = copy / "app" / file
    whole = path.read_text()
    path.write_text(f"{whole}\n\n{line}\n")
    try:
        result = run_lint_imports(copy)
    finally:
        path.write_text(whole)
    assert result.returncode != 0
    assert re.search(rf"^{re.escape(name)} BROKEN", result.stdout, re.MULTILINE), result.stdout


def test_every_import_rule_holds_and_was_broken_above(copy: Path) -> None:
    result = run_lint_imports(copy)
    assert result.returncode == 0, result.stdout
    assert set(re.findall(r"^(.*) KEPT$", result.stdout, re.MULTILINE)) == set(BREAKS)


def test_a_module_without_a_layer_is_refused(copy: Path) -> None:
    path = copy / "app" / "attic.py"
    path.write_text('"""Not on the list."""\n')
    try:
        assert run_lint_imports(copy).returncode != 0
    finally:
        path.unlink()


def test_the_version_is_the_same_everywhere(make_app: Callable[..., Flask]) -> None:
    document = make_app().test_client().get("/openapi.json").get_json()
    assert document["info"]["version"] == package.__version__
    assert f'version = "{package.__version__}"' in (ROOT / "pyproject.toml").read_text()


def test_a_server_starts_without_what_only_commands_need() -> None:
    code = "import sys, run; print(*sorted({'alembic', 'flask_migrate', 'app.cli.commands'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_operators_commands_are_there_when_one_is_looked_up(app: Flask) -> None:
    names = app.test_cli_runner().invoke(args=["--help"]).output
    assert {"config", "db", "doctor", "ratelimit", "role", "setup", "user"} <= set(names.split())
    assert app.test_cli_runner().invoke(args=["db", "--help"]).exit_code == 0
