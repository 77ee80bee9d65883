"""Which migration the tables of each owner are at, and how to apply the missing ones: the product first."""

import dataclasses
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from flask import current_app

from app.database import make_database_file
from app.database.locks import hold_lock
from app.database.resumable_migrations import MigrationFailed, find_interrupted
from app.extending import Extension
from app.extending.tables import find_owner, is_bookkeeping, list_migrated, name_progress_table, name_version_table
from app.extensions import db, get_extensions, get_settings
from app.models import list_product_tables

from .terminal import Failure, spell_command


@dataclasses.dataclass(frozen=True, slots=True)
class Lineage:
    """The migrations of one owner: of the product, whose ``owner`` is None, or of an extension."""

    owner: str | None = None
    versions: Path | None = None
    """The folder of an extension's migrations."""

    @property
    def title(self) -> str:
        """How messages call the owner."""
        return self.owner or "Gatehouse"

    @property
    def option(self) -> str:
        """What the commands of ``db`` are given to mean this lineage, with a space before it."""
        return "" if self.owner is None else f" --extension {self.owner}"

    @property
    def version_table(self) -> str:
        """The table that says which migration the database is at."""
        return name_version_table(self.owner)

    def make_config(self, x_arg: Sequence[str] = ()) -> Config:
        """Return Alembic's configuration of these migrations."""
        config: Config = current_app.extensions["migrate"].migrate.get_config(x_arg=list(x_arg) or None)
        return self.configure(config)

    def configure(self, config: Config) -> Config:
        """Make ``config`` one of these migrations."""
        config.attributes["lineage"] = self
        config.stdout = sys.stdout  # by default the one that there was when Alembic was imported
        if self.versions is not None:
            config.set_main_option("path_separator", "newline")
            config.set_main_option("version_locations", str(self.versions).replace("%", "%%"))
        return config

    def load_script(self) -> ScriptDirectory:
        """Return the migrations as Alembic reads them.

        Raises:
            Failure: a file cannot be read, two have the same number, or one follows none that is there.
        """
        script = ScriptDirectory.from_config(self.make_config())
        with warnings.catch_warnings():
            warnings.filterwarnings("error", module="alembic", category=UserWarning)
            try:
                list(script.walk_revisions())
            except Exception as error:
                message = f"The migrations of {self.title} cannot be read: {type(error).__name__}: {error}"
                raise Failure(f"{message}. Correct them in {self.versions or script.versions}.") from error
        return script


@dataclasses.dataclass(frozen=True, slots=True)
class Revisions:
    """The revision that the database is at, and the one that the code needs."""

    current: str | None
    wanted: str
    lineage: Lineage = dataclasses.field(default_factory=Lineage)
    is_ahead: bool = False
    """Whether a newer version of the owner, unknown to this one, has migrated the database."""
    is_interrupted: bool = False
    """Whether a migration ended half-way; the next run finishes it first."""
    are_joined: bool = True
    """Whether there is one latest migration, and not several that came one beside the other."""
    unversioned_tables: Sequence[str] = ()
    """The owner's tables, where the database has some but does not say which migration they are at."""

    @property
    def is_current(self) -> bool:
        """Whether there is nothing to apply."""
        return (self.current or "") == self.wanted and not self.is_interrupted and self.are_joined

    def find_obstacle(self) -> str | None:
        """Return why nothing can be applied, and what to do about it; None where all is well."""
        lineage = self.lineage
        if not self.are_joined:
            return (
                f"The migrations of {lineage.title} end in {self.wanted}, one beside the other. Join them, then"
                f" run this again: {self.joining_command}"
            )
        if self.is_ahead:
            return (
                f"A newer version of {lineage.title} has changed the database. It is at {self.current}; this one knows"
                f" {self.wanted}. For details: {spell_command('doctor')}"
            )
        if self.unversioned_tables:
            return (
                f"The database has tables of {lineage.title} ({', '.join(self.unversioned_tables)}), but does not say"
                f" which migration they are at. If you know: {spell_command(f'db stamp{lineage.option} REVISION')}"
            )
        return None

    @property
    def joining_command(self) -> str:
        """What joins several latest migrations."""
        return spell_command(f'db merge{self.lineage.option} -m "Join migrations" heads')


def list_lineages() -> list[Lineage]:
    """Return whose migrations there are, in the order in which they are applied: the product's come first."""
    return [Lineage(), *(make_lineage(extension) for extension in get_extensions() if extension.migrations)]


def make_lineage(extension: Extension) -> Lineage:
    """Return the migrations of ``extension``."""
    return Lineage(extension.name, extension.migrations)


def find_revisions(lineage: Lineage | None = None) -> Revisions:
    """Return the database's revision and the latest one, of the product unless another lineage is given."""
    lineage = lineage or Lineage()
    script = lineage.load_script()
    with db.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": lineage.version_table})
        heads = context.get_current_heads()
        interrupted = find_interrupted(connection, name_progress_table(lineage.version_table))
        unversioned = [] if heads or interrupted else list_tables(connection, lineage.owner)
    known = {revision.revision for revision in script.walk_revisions()}
    return Revisions(
        ", ".join(heads) or None,
        ", ".join(script.get_heads()),
        lineage,
        is_ahead=not known.issuperset(heads),
        is_interrupted=interrupted is not None,
        are_joined=len(script.get_heads()) <= 1,
        unversioned_tables=unversioned,
    )


def list_tables(connection: sa.Connection, owner: str | None) -> list[str]:
    """Return the names of the tables that an extension, or the product, has in the database."""
    tables = set(sa.inspect(connection).get_table_names())
    if owner is None:
        return sorted(tables & list_product_tables())
    # One that is no longer listed may have a name that begins with the owner's.
    names = [owner, *list_migrated(tables)]
    return sorted(table for table in tables if not is_bookkeeping(table) and find_owner(table, names) == owner)


def list_extension_names(connection: sa.Connection) -> list[str]:
    """Return the names of all extensions that are listed, or have had tables in this database."""
    listed = {extension.name for extension in get_extensions()}
    return sorted(listed.union(list_migrated(sa.inspect(connection).get_table_names())))


def refuse_obstacles(lineages: Sequence[Lineage]) -> list[Revisions]:
    """Return where each lineage is, before anything is applied.

    Raises:
        Failure: one of them cannot go on; nothing was changed.
    """
    revisions = [find_revisions(lineage) for lineage in lineages]
    obstacles = [obstacle for each in revisions if (obstacle := each.find_obstacle())]
    obstacles += list_unmet_needs()
    obstacles += list_alike()
    if obstacles:
        raise Failure(" ".join(obstacles))
    return revisions


def list_unmet_needs() -> list[str]:
    """Return which extensions need a later version of the product, and what to do about it."""
    script = Lineage().load_script()
    known = {revision.revision for revision in script.walk_revisions()}
    return [
        f"{extension.name} needs Gatehouse's migration {extension.needs_product}; this version ends with"
        f" {', '.join(script.get_heads())}. Upgrade Gatehouse first, or take {extension.name} off APP_EXTENSIONS."
        for extension in get_extensions()
        if extension.needs_product is not None and extension.needs_product not in known
    ]


def list_alike() -> list[str]:
    """Return which extensions have a name that is like that of one that is not listed, but has tables here."""
    unloaded = [name for name, _tables in list_unloaded_tables()]
    return [
        f"{extension.name} and {name}, which has tables here: one name begins with the other, so that tables could be"
        f" either's. Rename {extension.name}, or drop the tables:"
        f" {spell_command(f'extension remove {name} --with-data')}."
        for extension in get_extensions()
        for name in unloaded
        if extension.migrations is not None and find_owner(max(extension.name, name), [min(extension.name, name)])
    ]


def upgrade_database(
    lineages: Sequence[Lineage] | None = None,
    *,
    revision: str = "head",
    tag: str | None = None,
    x_arg: Sequence[str] = (),
) -> list[Revisions]:
    """Apply the missing migrations up to ``revision``, the product's first; two processes at once apply them once.

    Return where each lineage was before.

    Raises:
        Failure: one of them cannot be applied, or went wrong; the message says what was done.
    """
    lineages = list_lineages() if lineages is None else lineages
    make_database_file(get_settings().database_url)
    with hold_lock(db.engine, "migrations"):
        before = refuse_obstacles(lineages)
        for lineage in lineages:
            config = lineage.make_config(x_arg)
            config.attributes["is_locked"] = True
            with explain_failures(lineage):
                command.upgrade(config, revision, tag=tag)
    return before


@contextmanager
def explain_failures(lineage: Lineage) -> Iterator[None]:
    """Turn a migration of ``lineage`` that goes wrong in the block into one message."""
    try:
        yield
    except MigrationFailed as error:
        raise Failure(_describe_failure(lineage, error)) from error
    except CommandError as error:
        raise Failure(
            f"{lineage.title}: {error}. Its migrations: {spell_command(f'db history{lineage.option}')}"
        ) from error


def _describe_failure(lineage: Lineage, error: MigrationFailed) -> str:
    at = find_revisions(lineage).current or "none"
    kept = (
        "What it did before that stays; the next run goes on there."
        if error.stays
        else "What it did was taken back, but for what it committed itself."
    )
    way = "upgrade" if error.is_upgrade else "downgrade"
    return (
        f"The {way} of {error.revision}, a migration of {lineage.title}, failed: {error.cause}. {kept}"
        f" The tables of {lineage.title} are at {at}; nobody else's were touched by it."
    )


def list_unloaded_tables() -> Iterator[tuple[str, list[str]]]:
    """Yield the names of extensions that have tables in the database but are not listed, and those tables."""
    listed = {extension.name for extension in get_extensions()}
    with db.engine.connect() as connection:
        for name in list_migrated(sa.inspect(connection).get_table_names()):
            tables = list_tables(connection, name)
            if name not in listed and tables:
                yield name, tables
