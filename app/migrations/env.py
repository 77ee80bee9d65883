"""How Alembic reaches the database: through the application's own engine."""

from alembic import context
from alembic.runtime.migration import MigrationContext

from app.database import lift_time_limits, make_database_file, resumable_migrations
from app.database.locks import hold_lock
from app.database.schema import find_orphans, keeping_referring_rows, limit_lock_waits, retry_while_locked
from app.extensions import db, get_settings
from app.models import Base
from app.search import is_search_object


def _is_ours(_thing: object, name: str | None, _kind: str, _is_reflected: bool, _other: object) -> bool:  # noqa: FBT001 - Alembic's signature
    """Leave out what belongs to the search and to the migrations themselves: no model knows it."""
    return not is_search_object(name, Base.metadata) and name != resumable_migrations.TABLE


def run_migrations() -> None:
    """Run the migrations, or write their SQL where ``--sql`` asks for it."""
    if context.is_offline_mode():
        context.configure(
            url=db.engine.url.render_as_string(hide_password=False),
            target_metadata=Base.metadata,
            literal_binds=True,
            render_as_batch=True,
        )
        with context.begin_transaction():
            context.run_migrations()
        return
    make_database_file(get_settings().database_url)
    # Two servers that start at once must not both create the tables.
    with hold_lock(db.engine, "migrations"):
        retry_while_locked(_migrate)


def _migrate() -> None:
    with (
        db.engine.connect().execution_options(is_write=True) as connection,
        keeping_referring_rows(connection),
    ):
        lift_time_limits(connection)
        limit_lock_waits(connection)
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            compare_type=True,
            # An index that is made while nobody waits cannot be made inside one transaction with everything else.
            transaction_per_migration=True,
            on_version_apply=_refuse_orphans,
            include_object=_is_ours,
            # Our own column types are written as types.UtcDateTime(); script.py.mako imports them.
            user_module_prefix="types.",
            render_as_batch=connection.dialect.name == "sqlite",
        )
        with context.begin_transaction():
            resumable_migrations.run_migrations(context.get_context(), context.script)


def _refuse_orphans(ctx: MigrationContext, *_: object, **__: object) -> None:
    """Roll a migration back, before its commit, that would leave rows which refer to nothing."""
    orphaned = find_orphans(ctx.connection)
    if orphaned:
        raise RuntimeError(f"Rows of {', '.join(orphaned)} would refer to nothing. The migration was taken back.")


run_migrations()
