"""How Alembic reaches the database: through the application's own engine."""

from __future__ import annotations

from alembic import context

from app.database.locks import hold_lock
from app.extensions import db
from app.models import Base


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
    # Two servers that start at once must not both create the tables.
    with (
        hold_lock(db.engine, "migrations"),
        db.engine.connect().execution_options(is_write=True) as connection,
    ):
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            compare_type=True,
            # Our own column types are written as types.UtcDateTime(); script.py.mako imports them.
            user_module_prefix="types.",
            render_as_batch=connection.dialect.name == "sqlite",
        )
        with context.begin_transaction():
            context.run_migrations()


run_migrations()
