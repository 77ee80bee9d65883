"""Rules about what operators meet of an extension: settings, limits and health."""

from __future__ import annotations

import dataclasses
import importlib
import threading
from collections.abc import Iterator
from pathlib import Path

from app.environment import list_settings
from app.extending import Extension, list_setting_names, name_limit
from app.extending.health import HEALTH_SECONDS
from app.ratelimit.limiter import list_rules

from .subject import Subject


def find_wrong_defaults(extension: Extension) -> Iterator[str]:
    """The default of each setting can be read, in production too."""
    if extension.settings is None or not dataclasses.is_dataclass(extension.settings):
        return
    for field in list_settings(extension.settings):
        for text in dict.fromkeys((field.metadata["default"], field.metadata["production"])):
            try:
                if text is not None:
                    field.metadata["parse"](text)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the extension's fault
                told = f"expected {error}" if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
                yield f"the default {text!r} of its setting {field.name} cannot be read, {told}: correct it"


def find_undocumented_settings(extension: Extension) -> Iterator[str]:
    """Each setting, those of its limits too, is named in the README.md beside the package or in it, if there is one."""
    names = list_setting_names(extension)
    if not names:
        return
    folders = list(map(Path, importlib.import_module(extension.name).__path__))
    readmes = [path for each in folders for path in (each / "README.md", each.parent / "README.md") if path.is_file()]
    text = "\n".join(path.read_text() for path in readmes)
    for name in names:
        if readmes and name not in text:
            yield f"its setting {name} is not in {readmes[0].name}: say what it is for and what its default is"


def find_unused_limits(subject: Subject) -> Iterator[str]:
    """Each limit is one of a route."""
    used = {rule.name for rule in list_rules(subject.app)}
    for name, setting in zip(subject.extension.limits, _list_limit_settings(subject.extension), strict=True):
        if name_limit(subject.extension, name) not in used:
            yield f'its limit {name} limits no route: put @rate_limit("{setting}") above a view, or take it out'


def _list_limit_settings(extension: Extension) -> list[str]:
    return list_setting_names(extension)[-len(extension.limits) :] if extension.limits else []


def find_failing_health(subject: Subject) -> Iterator[str]:
    """The health check answers in time on a database in which there are no rows yet, and does not fail."""
    check = subject.extension.check_health
    if check is None:
        return
    errors: list[Exception] = []

    def ask() -> None:
        try:
            with subject.app.app_context():
                check()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the extension's fault
            errors.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(HEALTH_SECONDS)
    if thread.is_alive():
        yield f"check_health takes more than {HEALTH_SECONDS:g} s, which /readyz does not wait for: give it a deadline"
    for error in errors:
        told = str(error).partition("\n")[0]
        yield f"check_health fails before there are any rows: {type(error).__name__}: {told}"
