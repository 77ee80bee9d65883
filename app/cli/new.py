"""``new``: an extension or a resource, written as files for their author to go on with."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from app.config import IS_INSTALLED, ROOT
from app.extending import FACE
from app.extending.names import find_name_fault

from .fields import Field, FieldRefused, parse_field
from .generator import Names, describe, find_faults, render
from .terminal import Failure, OperatorGroup, Report, spell_command

new_group = OperatorGroup("new", help="Write the files of an extension or a resource in this folder.")

_SETTINGS = Path(".env")
_RESOURCE_FILES = ("__init__.py", "models.py", "schemas.py", "services.py", "routes.py")


@new_group.command("extension")
@click.argument("name")
@click.option("--dry-run", "is_dry", is_flag=True, help="Only list what would be written.")
def new_extension(*, name: str, is_dry: bool) -> Report:
    """Write an extension, to which resources are added."""
    if fault := find_name_fault(name):
        raise Failure(f"{name!r}: {fault}")
    values = {"extension": name, "face": FACE, "title_text": name.replace("_", " ").capitalize()}
    files = _make_extension(values | {"model": None, "owner": None})
    return _write(files, is_dry=is_dry, steps=[spell_command("new resource Invoice number:text total:decimal")])


@new_group.command("resource")
@click.argument("model", metavar="NAME")
@click.argument("fields", nargs=-1, metavar="FIELD:TYPE...")
@click.option("--extension", "extension", help="The extension that it belongs to, where there are several.")
@click.option("--plural", help="Its plural, where that is irregular: people.")
@click.option("--dry-run", "is_dry", is_flag=True, help="Only list what would be written.")
def new_resource(
    *, model: str, fields: Sequence[str], extension: str | None, plural: str | None, is_dry: bool
) -> Report:
    """Write a resource: its table, migration, JSON, routes and tests, and an extension for it if there is none.

    The types are text, int, decimal, bool, date, datetime, user (whose it is) and enum=one,two; behind a text or an int
    may stand :unique.
    """
    found = _list_extensions()
    if extension is None and len(found) > 1:
        raise Failure(f"there are several extensions here: say --extension with one of {', '.join(found)}")
    owner = extension or (found[0] if found else _name_extension(model, plural))
    names = Names(model, extension=owner, plural=plural)
    parsed, faults = _parse(fields)
    faults += find_faults(names, owner, parsed)
    if faults:
        raise Failure("; ".join(faults))
    values = describe(names, owner, parsed, after=_find_last_migration(Path(owner, "migrations")))
    files = _make_resource(owner, names, values)
    if owner in found:
        return _write(files, is_dry=is_dry, steps=_tell_registration(owner, names, values))
    return _write(_make_extension(values) | files, is_dry=is_dry, steps=_list_steps())


def _list_extensions() -> list[str]:
    """Return the packages of this folder that are extensions."""
    made = re.compile(r"^extension = Extension\(", re.MULTILINE)
    return sorted(path.parent.name for path in Path().glob("*/__init__.py") if made.search(path.read_text()))


def _name_extension(model: str, plural: str | None) -> str:
    """Return the name of an extension for a first resource: the folder's, or the resource's plural."""
    folder = re.sub(r"[^a-z0-9]+", "_", Path.cwd().name.lower()).strip("_")
    return Names(model, extension="", plural=plural).plural if find_name_fault(folder) else folder


def _parse(texts: Sequence[str]) -> tuple[list[Field], list[str]]:
    """Return the fields that ``texts`` spell out, and what is wrong with the others."""
    fields, faults = [], []
    for text in texts:
        try:
            fields.append(parse_field(text))
        except FieldRefused as fault:
            faults.append(str(fault))
    return fields, faults


def _find_last_migration(folder: Path) -> str | None:
    numbers = [match[0] for path in folder.glob("*.py") if (match := re.match(r"[0-9]{4}", path.name))]
    return max(numbers, default=None)


def _make_extension(values: Mapping[str, Any]) -> dict[Path, str]:
    """Return the files of an extension, with a first resource where ``values`` describe one."""
    name: str = values["extension"]
    files = {
        Path(name, "__init__.py"): "extension/__init__.py",
        Path("tests", "test_extension.py"): "extension/test.py",
        Path("pyproject.toml"): "extension/pyproject.toml",
        Path("README.md"): "extension/README.md",
    }
    if values["owner"]:
        files[Path(name, "hooks.py")] = "extension/hooks.py"
    made = {path: render(template, dict(values)) for path, template in files.items()}
    made[Path(name, "migrations", ".gitkeep")] = ""
    if not Path(".flaskenv").exists():
        made[Path(".flaskenv")] = "FLASK_APP=gatehouse\n"
    if not _SETTINGS.exists():
        made[_SETTINGS] = f"APP_EXTENSIONS={name}\n"
    return made


def _make_resource(extension: str, names: Names, values: Mapping[str, Any]) -> dict[Path, str]:
    """Return the files of a resource."""
    package = Path(extension, names.plural)
    made = {package / file: render(f"resource/{file}", dict(values)) for file in _RESOURCE_FILES}
    migration = f"{values['revision']}_{names.plural}.py"
    made[Path(extension, "migrations", migration)] = render("resource/migration.py", dict(values))
    made[Path("tests", f"test_{names.plural}.py")] = render("resource/test.py", dict(values))
    return made


def _tell_registration(extension: str, names: Names, values: Mapping[str, Any]) -> list[str]:
    """Return what its author adds to an extension that there is already: what is written by hand stays as it is."""
    lines = [
        f"add to {extension}/__init__.py:",
        f"    from .{names.plural} import routes as {names.plural}_routes",
        f"    from .{names.plural}.models import {names.model}",
        f"  to models: {names.model}; to blueprints: {names.plural}_routes.blueprint; to permissions:",
        f'    "{names.plural}:read": "See all {names.plural_words}",',
        f'    "{names.plural}:write": "Create, change and delete {names.plural_words}",',
    ]
    if values["owner"]:
        lines.append(
            f'  to on_user_deletion: {names.model}: "refuse"; and what export_user says of {names.plural_words}'
        )
    return [*lines, *_list_steps()]


def _list_steps() -> list[str]:
    """Return the commands that follow; a clone's own environment has neither the package nor its plugin for tests."""
    first = [] if IS_INSTALLED else [f"pip install '{ROOT}[testing]'"]
    return [*first, spell_command("setup"), "python -m pytest"]


def _write(files: Mapping[Path, str], *, is_dry: bool, steps: Sequence[str]) -> Report:
    """Write ``files``, none of which may be there, and report them with what to do next."""
    there = [str(path) for path in files if path.exists()]
    if there:
        raise Failure(f"nothing was written, because these are there already: {', '.join(there)}")
    if not is_dry:
        for path, text in files.items():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with path.open("x") as file:
                file.write(text)
        if _SETTINGS in files:
            _SETTINGS.chmod(0o600)  # secrets come into it later
    written = [str(path) for path in sorted(files)]
    lines = [f"{'would write' if is_dry else 'wrote'} {path}" for path in written]
    return Report({"files": written, "written": not is_dry, "next": list(steps)}, [*lines, "", "Next:", *steps])
