"""Which migration the database is at, and how to apply the missing ones."""

import dataclasses

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import current_app

from app.database.resumable_migrations import find_interrupted
from app.extensions import db


@dataclasses.dataclass(frozen=True, slots=True)
class Revisions:
    """The revision that the database is at, and the one that the code needs."""

    current: str | None
    wanted: str
    is_ahead: bool = False
    """Whether a newer version of the product, unknown to this one, has migrated the database."""
    is_interrupted: bool = False
    """Whether a migration ended half-way; the next run finishes it first."""

    @property
    def is_current(self) -> bool:
        """Whether there is nothing to apply."""
        return self.current == self.wanted and not self.is_interrupted


def find_revisions() -> Revisions:
    """Return the database's revision and the latest one."""
    script = ScriptDirectory.from_config(_get_config())
    with db.engine.connect() as connection:
        heads = MigrationContext.configure(connection).get_current_heads()
        is_interrupted = find_interrupted(connection) is not None
    known = {revision.revision for revision in script.walk_revisions()}
    return Revisions(
        ", ".join(heads) or None,
        ", ".join(script.get_heads()),
        is_ahead=not known.issuperset(heads),
        is_interrupted=is_interrupted,
    )


def upgrade_database() -> None:
    """Apply the missing migrations; two processes at once apply them once."""
    command.upgrade(_get_config(), "head")


def _get_config() -> Config:
    config: Config = current_app.extensions["migrate"].migrate.get_config()
    return config
