"""``db``: Flask-Migrate's commands, for the product's migrations and for those of its extensions."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Final

import click
from alembic.config import Config
from flask import g
from flask.cli import with_appcontext
from flask_migrate import cli as flask_migrate_cli
from sqlalchemy.exc import SQLAlchemyError

from app.database import DatabaseUnavailable
from app.extensions import get_extensions

from .migrations import Lineage, explain_failures, list_lineages, make_lineage, upgrade_database
from .terminal import Failure, say

if TYPE_CHECKING:
    from collections.abc import Callable

# What speaks of all owners where none is named; the others mean the product.
_OF_ALL: Final = frozenset({"check", "current", "heads"})
_OF_NOBODY: Final = frozenset({"init", "list-templates"})
_LINEAGE: Final = "lineage"


def choose_lineage(config: Config) -> Config:
    """Make Flask-Migrate's ``config`` one of the lineage that the running command is about."""
    lineage: Lineage | None = g.get(_LINEAGE)
    return config if lineage is None else lineage.configure(config)


def make_database_group() -> click.Group:
    """Return Flask-Migrate's group, whose commands know of extensions."""
    group: click.Group = copy.copy(flask_migrate_cli.db)
    group.commands = {
        name: command if name in _OF_NOBODY else _Command(command) for name, command in group.commands.items()
    }
    return group


class _Command(click.Command):
    """A command of Flask-Migrate for one lineage or for all, whose failures are one message."""

    def __init__(self, original: click.Command) -> None:
        super().__init__(
            original.name, callback=with_appcontext(self._run), params=list(original.params), help=original.help
        )
        self.params.append(click.Option(["--extension"], metavar="NAME", help="Whose migrations: an extension's."))
        self._original = original

    def _run(self, extension: str | None, **options: Any) -> None:  # noqa: ANN401 - click's own
        chosen = _find_lineage(extension)
        name = self.name or ""
        is_all = chosen is None and name in _OF_ALL
        try:
            if name == "upgrade" and options["revision"] == "head" and not options["sql"]:
                upgrade_database(None if chosen is None else [chosen], tag=options["tag"], x_arg=options["x_arg"])
                return
            for lineage in list_lineages() if is_all else [chosen or Lineage()]:
                if is_all and len(list_lineages()) > 1:
                    say(f"{lineage.title}:")
                self._run_one(lineage, options)
        except DatabaseUnavailable as error:
            raise Failure(f"{error.detail} For details: flask --app run doctor") from error
        except SQLAlchemyError as error:
            raise Failure(
                f"The database failed ({type(error).__name__}). For details: flask --app run doctor"
            ) from error

    def _run_one(self, lineage: Lineage, options: dict[str, Any]) -> None:
        setattr(g, _LINEAGE, lineage)
        callback: Callable[..., Any] = self._original.callback  # type: ignore[assignment] # each has one
        with explain_failures(lineage):
            callback(**options)


def _find_lineage(name: str | None) -> Lineage | None:
    """Return the lineage of the extension of that name; None where no name was given.

    Raises:
        Failure: no extension of that name is listed, or it has no migrations.
    """
    if name is None:
        return None
    found = next((extension for extension in get_extensions() if extension.name == name), None)
    if found is None:
        raise Failure(f"No extension {name} is loaded. Name it in APP_EXTENSIONS.")
    if found.migrations is None:
        raise Failure(f"{name} says no folder for its migrations: give its Extension migrations=Path(…).")
    return make_lineage(found)
