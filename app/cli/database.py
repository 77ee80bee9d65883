"""``db``: Flask-Migrate's commands, for the product's migrations and for those of its extensions."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Final

import click
from alembic.config import Config
from click.exceptions import Exit
from flask import g
from flask.cli import with_appcontext
from flask_migrate import cli as flask_migrate_cli
from sqlalchemy.exc import SQLAlchemyError

from app.config import IS_INSTALLED
from app.database import DatabaseUnavailable
from app.database.locks import LockTimeout
from app.extensions import get_extensions

from .downgrades import refuse_downgrade
from .migrations import Lineage, explain_failures, find_revisions, list_lineages, make_lineage, upgrade_database
from .terminal import Failure, say, spell_command

if TYPE_CHECKING:
    from collections.abc import Callable

# What speaks of all owners where none is named; the others mean the product.
_OF_ALL: Final = frozenset({"check", "current", "heads"})
# What compares the models with tables that have all migrations.
_AT_HEAD: Final = frozenset({"check", "migrate"})
_WRITING: Final = frozenset({"edit", "merge", "migrate", "revision"})
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
        if chosen is None and name in _WRITING and IS_INSTALLED:
            raise Failure("Gatehouse's migrations are part of what is installed. For yours, name your --extension.")
        is_all = chosen is None and name in _OF_ALL
        try:
            if name == "upgrade" and not options["sql"]:
                # Of one owner alone there are revisions other than the latest.
                owners = None if chosen is None and options["revision"] == "head" else [chosen or Lineage()]
                upgrade_database(owners, **{key: options[key] for key in ("revision", "tag", "x_arg")})
                return
            lineages = list_lineages() if is_all else [chosen or Lineage()]
            codes = [self._run_one(lineage, options, has_title=len(lineages) > 1) for lineage in lineages]
            if any(codes):
                raise Exit(max(codes))
        except LockTimeout as error:
            raise Failure(str(error)) from error
        except DatabaseUnavailable as error:
            raise Failure(f"{error.detail} For details: {spell_command('doctor')}") from error
        except SQLAlchemyError as error:
            raise Failure(
                f"The database failed ({type(error).__name__}). For details: {spell_command('doctor')}"
            ) from error

    def _run_one(self, lineage: Lineage, options: dict[str, Any], *, has_title: bool) -> int:
        """Run the command for one lineage and return its exit code."""
        if has_title:
            say(f"{lineage.title}:")
        if self.name in _AT_HEAD:
            _refuse_behind(lineage)
        elif self.name == "downgrade" and not options["sql"]:
            refuse_downgrade(lineage, options["revision"])
        setattr(g, _LINEAGE, lineage)
        callback: Callable[..., Any] = self._original.callback  # type: ignore[assignment] # each has one
        try:
            with explain_failures(lineage):
                callback(**options)
        except SystemExit as error:
            return int(error.code or 0)
        return 0


def _refuse_behind(lineage: Lineage) -> None:
    """Refuse to compare models with tables that are not at the latest migration.

    Raises:
        Failure: saying how to get there.
    """
    revisions = find_revisions(lineage)
    obstacle = revisions.find_obstacle()
    if obstacle:
        raise Failure(obstacle)
    if not revisions.is_current:
        raise Failure(
            f"The tables of {lineage.title} are at {revisions.current or 'none'}, but its migrations end with"
            f" {revisions.wanted}. First: {spell_command(f'db upgrade{lineage.option}')}"
        )


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
