"""Finding the extensions that an application's list names."""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click
from flask import Blueprint

from app.environment import SettingsError
from app.utils import escape_controls

from .extension import FACE, Extension
from .names import find_name_fault

VERSION_MAX_LENGTH: Final = 64
_KINDS: Final = (
    ("version", str, object, "a text"),
    ("needs_product", str | None, object, "a text"),
    ("models", Sequence, type, "a list of models"),
    ("blueprints", Sequence, Blueprint, "a list of blueprints"),
    ("permissions", Mapping, str, "a dict of texts"),
    ("limits", Mapping, str, "a dict of texts"),
    ("commands", Sequence, click.Command, "a list of commands"),
    ("migrations", Path | None, object, "a Path"),
    ("on_user_deletion", Mapping, object, "a dict of words by model"),
)
_HOOKS: Final = ("export_user", "describe_users", "check_health")


class ExtensionsRefused(SettingsError):
    """One or more extensions are not in order; the message names each, and what to do."""

    subject = "extensions"
    heading = "The extensions cannot be loaded:"
    remedy = "Correct it, or take the extension off APP_EXTENSIONS."


def find_extensions(names: Sequence[str], given: Iterable[Extension], faults: list[str]) -> list[Extension]:
    """Return the extensions that ``names`` name, in their order, then those ``given``; add what is wrong to ``faults``.

    One that is listed twice is there once.
    """
    found: list[Extension] = []
    for name in dict.fromkeys(names):
        extension = _find_extension(name, faults)
        if extension is not None:
            found.append(extension)
    each: Any  # whatever it is said to be
    for each in given:
        if isinstance(each, Extension) and isinstance(each.name, str):
            found.append(each)
        else:
            faults.append(f"what create_app was given: {str(each)[:80]!r} is no Extension with a name")
    # By identity: two that are equal, and not the same, are two of one name.
    return list({id(extension): extension for extension in found}.values())


def check_kinds(extension: Extension) -> Iterable[str]:
    """Yield which parts of ``extension`` are of a type that says nothing."""
    for part, kinds, held, wanted in _KINDS:
        value = getattr(extension, part)
        if not isinstance(value, kinds) or (kinds is Sequence and isinstance(value, str)):
            yield f"its {part} is a {type(value).__name__}: make it {wanted}"
        elif strange := {type(each).__name__ for each in _list_within(value) if not isinstance(each, held)}:
            yield f"its {part} has a {' and a '.join(sorted(strange))} in it: make it {wanted}"
    if not _is_version(extension.version):
        shown = str(extension.version)[:80]
        yield f"its version {shown!r}: write a text such as 1.0, of at most {VERSION_MAX_LENGTH} characters"
    for part in _HOOKS:
        value = getattr(extension, part)
        if value is not None and not callable(value):
            yield f"its {part} is a {type(value).__name__}: make it a function"


def _is_version(version: object) -> bool:
    """Say whether a list can show ``version``; of another type than text is told already."""
    return not isinstance(version, str) or (version.isprintable() and 0 < len(version.strip()) <= VERSION_MAX_LENGTH)


def _list_within(value: Any) -> Iterable[Any]:  # noqa: ANN401 - whatever a part may be
    if isinstance(value, Mapping):
        return [*value.keys(), *value.values()]
    return value if isinstance(value, Sequence) else ()


def check_face(extension: Extension) -> Iterable[str]:
    """Yield what is wrong with the number of the face that ``extension`` is written for."""
    if extension.face != FACE:
        yield f"it is written for face {extension.face!r}, and this product offers {FACE}: install versions that fit"


def _find_extension(name: str, faults: list[str]) -> Extension | None:
    fault = find_name_fault(name)
    if fault is not None:
        faults.append(f"APP_EXTENSIONS: {name[:80]!r}: {fault}")
        return None
    try:
        package = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name == name:
            faults.append(f"{name}: there is no package of this name: install it, or take it off APP_EXTENSIONS")
        else:
            faults.append(f"{name}: its package cannot be imported, it needs {error.name}: install that too")
        return None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, it is the extension's fault
        told = f"{_find_place(error, name)}{type(error).__name__}: {_shorten(error)}"
        faults.append(f"{name}: its package cannot be imported: {told}")
        return None
    return _get_object(package, name, faults)


def _find_place(error: BaseException, name: str) -> str:
    """Return the file and line of the package ``name`` in which ``error`` came about, or nothing."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if name in path.parts:
            return f"{path.parent.name}/{path.name}:{frame.lineno}: "
    return ""


def _shorten(error: BaseException) -> str:
    """Return the text of ``error`` on one line."""
    return escape_controls(" ".join(str(error).split()))[:300]


def _get_object(package: Any, name: str, faults: list[str]) -> Extension | None:  # noqa: ANN401 - whatever a package may be
    extension = getattr(package, "extension", None)
    if isinstance(extension, Extension) and extension.name == name:
        return extension
    if extension is None:
        faults.append(f"{name}: its package has no extension: write extension = Extension(…) in its __init__.py")
    elif isinstance(extension, Extension):
        faults.append(f"{name}: its extension is called {extension.name!r}: give it the name of its package")
    else:
        faults.append(f"{name}: its extension is a {type(extension).__name__}: make it an Extension")
    return None
