"""The extensions of one application."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, TypeVar, cast

import click
from flask import Blueprint, Flask, current_app

from app.environment import describe_values
from app.permissions import PERMISSIONS
from app.ratelimit import Limits
from app.utils import describe_stack

from .extension import Extension, Json
from .health import HealthCheck, find_ailing
from .values import get_prefix, get_prefixes, name_limit, name_setting_of

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Extensions:
    """The extensions that one application has, in the order of its list."""

    def __init__(
        self,
        listed: Sequence[Extension] = (),
        *,
        settings: Mapping[str, Any] = MappingProxyType({}),
        limits: Mapping[str, Limits] = MappingProxyType({}),
    ) -> None:
        """Take what is ``listed`` and found to be in order: their ``settings`` by their names, their ``limits``."""
        self.listed: Final = tuple(listed)
        self.settings: Final = settings
        self.limits: Final = limits
        own = (each.permissions for each in self.listed)
        self.permissions: Final[Mapping[str, str]] = MappingProxyType(
            {name: text for declared in (PERMISSIONS, *own) for name, text in declared.items()}
        )
        """All that the application declares, the product's first."""
        self.declared: Final = frozenset(self.permissions)
        self._checks = {each.name: HealthCheck(each) for each in self.listed if each.check_health is not None}
        self._failing: set[tuple[str, object]] = set()

    def __iter__(self) -> Iterator[Extension]:
        return iter(self.listed)

    @property
    def blueprints(self) -> list[Blueprint]:
        """Those of all, in order."""
        return [blueprint for extension in self.listed for blueprint in extension.blueprints]

    @property
    def commands(self) -> list[click.Command]:
        """Those of all, in order."""
        return [command for extension in self.listed for command in extension.commands]

    @property
    def prefixes(self) -> list[str]:
        """What the names of their settings begin with."""
        return [prefix for extension in self.listed for prefix in get_prefixes(extension)]

    def describe_settings(self) -> dict[str, object]:
        """Return every setting of theirs by its name in the environment, secrets masked."""
        described: dict[str, object] = {}
        for extension in self.listed:
            if extension.name in self.settings:
                described |= describe_values(self.settings[extension.name], prefix=get_prefix(extension))
            for name in extension.limits:
                limit = name_limit(extension, name)
                described[name_setting_of(limit)] = str(self.limits[limit])
        return described

    def check_health(self) -> dict[str, str]:
        """Return ``ok`` or ``failing`` for each, by its name.

        Who fails has a check that finds something, raises or says nothing for ``HEALTH_SECONDS``; or a hook that failed
        the last time.
        """
        app: Flask = current_app._get_current_object()  # type: ignore[attr-defined] # noqa: SLF001 - for the threads
        ailing = find_ailing(self._checks.values(), app)
        failing = self.failing | {name for name, check in self._checks.items() if check in ailing}
        return {each.name: "failing" if each.name in failing else "ok" for each in self.listed}

    @property
    def failing(self) -> frozenset[str]:
        """The names of those of which a hook failed the last time that it was asked."""
        return frozenset(name for name, _hook in self._failing.copy())

    def get_settings(self, settings_class: type[T]) -> T:
        """Return the settings of the extension whose class of settings this is.

        Raises:
            LookupError: no extension of this application has it.
        """
        for extension in self.listed:
            if extension.settings is settings_class:
                return cast("T", self.settings[extension.name])
        raise LookupError(f"{settings_class.__name__} belongs to no extension of this application")

    def describe_users(self, ids: Sequence[uuid.UUID]) -> list[dict[str, Json]] | None:
        """Return what stands under ``extensions`` in the JSON of each of these users; None if no extension adds any.

        Each extension is asked once for all of them. What one fails to say, and what is no JSON, is None.
        """
        names = [extension.name for extension in self.listed if extension.describe_users is not None]
        if not names:
            return None
        answers = self.collect(
            lambda extension: extension.describe_users,
            ids,
            read=lambda answer: {each: copy_json(answer[each]) for each in ids if each in answer},
        )
        return [{name: answers.get(name, {}).get(each) for name in names} for each in ids]

    def collect(
        self,
        ask: Callable[[Extension], Callable[..., Any] | None],
        *args: Any,  # noqa: ANN401 - what hooks take
        read: Callable[[Any], Any] = lambda answer: answer,
    ) -> dict[str, Any]:
        """Return what the hook that ``ask`` picks says in each extension that has it, by the extension's name.

        ``read`` makes of an answer what is returned, and raises where it is of no use.
        One that raises is left out, named in the log and counted as failing until it succeeds; no other hears of it.
        Each has a database session of its own: what it leaves behind, such as a failed statement, ends with it.
        """
        answers: dict[str, Any] = {}
        for extension in self.listed:
            hook = ask(extension)
            if hook is None:
                continue
            try:
                with current_app.app_context():
                    answers[extension.name] = read(hook(*args))
            except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, it is the extension's fault
                self._failing.add((extension.name, hook))
                logger.error("the extension %s failed", extension.name, extra={"stack": describe_stack(error)})  # noqa: TRY400 - the stack without values
            else:
                self._failing.discard((extension.name, hook))
        return answers


def copy_json(value: object) -> Json:
    """Return ``value`` as JSON holds it.

    Raises:
        TypeError: it is none.
        ValueError: it holds itself, or a number that JSON has not.
    """
    return json.loads(json.dumps(value, allow_nan=False))
