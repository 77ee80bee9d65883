"""How Alembic reaches the database: through the application's own engine, for the migrations of one owner at a time."""

from contextlib import nullcontext

import sqlalchemy as sa
from alembic import context
from alembic.runtime.migration import MigrationContext

from app.cli.autogenerate import Autogenerate
from app.cli.migrations import Lineage
from app.database import lift_time_limits, make_database_file, resumable_migrations
from app.database.locks import hold_lock
from app.database.schema import find_orphans, keeping_referring_rows, limit_lock_waits, retry_while_locked
from app.extending.tables import name_progress_table
from app.extensions import db, get_settings
from app.models import Base


def run_migrations(lineage: Lineage) -> None:
    """Run the migrations of ``lineage``, or write their SQL where ``--sql`` asks for it."""
    if context.is_offline_mode():
        context.configure(
            url=db.engine.url.render_as_string(hide_password=False),
            target_metadata=Base.metadata,
            literal_binds=True,
            render_as_batch=True,
            version_table=lineage.version_table,
        )
        with context.begin_transaction():
            context.run_migrations()
        return
    make_database_file(get_settings().database_url)
    # Two servers that start at once must not both create the tables.
    is_locked = context.config.attributes.get("is_locked", False)
    with nullcontext() if is_locked else hold_lock(db.engine, "migrations"):
        retry_while_locked(lambda: _migrate(lineage, context.config.attributes.get("engine", db.engine)))


def _migrate(lineage: Lineage, engine: sa.Engine) -> None:
    with (
        engine.connect().execution_options(is_write=True) as connection,
        keeping_referring_rows(connection),
    ):
        lift_time_limits(connection)
        limit_lock_waits(connection)
        autogenerate = Autogenerate(lineage, connection)
        connection.rollback()
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            version_table=lineage.version_table,
            compare_type=True,
            # An index that is made while nobody waits cannot be made inside one transaction with everything else.
            transaction_per_migration=True,
            on_version_apply=_refuse_orphans,
            include_object=autogenerate.is_owned,
            process_revision_directives=autogenerate.process,
            render_item=autogenerate.render,
            # What is written on one database runs on the others; SQLite knows no other way to change a column.
            render_as_batch=True,
        )
        with context.begin_transaction():
            progress = name_progress_table(lineage.version_table)
            resumable_migrations.run_migrations(context.get_context(), context.script, progress)


def _refuse_orphans(ctx: MigrationContext, *_: object, **__: object) -> None:
    """Roll a migration back, before its commit, that would leave rows which refer to nothing."""
    orphaned = find_orphans(ctx.connection)
    if orphaned:
        raise RuntimeError(f"Rows of {', '.join(orphaned)} would refer to nothing. The migration was taken back.")


run_migrations(context.config.attributes.get("lineage", Lineage()))
