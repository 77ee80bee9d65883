"""Extensions whose migrations are written for a test, and what a database holds of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from app.cli.migrations import find_revisions, make_lineage
from app.extending import Extension
from app.extensions import db

if TYPE_CHECKING:
    from pathlib import Path

    from flask import Flask

HEADER = """\
import sqlalchemy as sa
from alembic import op

revision = {revision!r}
down_revision = {below!r}
branch_labels = None
depends_on = None


"""
FIRST = """\
def upgrade():
    op.create_table(
        "{name}",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("number", sa.String(20), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_{name}_user_id_users"),
        sa.PrimaryKeyConstraint("id", name="pk_{name}"),
    )
    op.create_index("ix_{name}_number", "{name}", ["number"])


def downgrade():
    op.drop_table("{name}")
"""
SECOND = """\
def upgrade():
    op.create_table("{name}_line", sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False))


def downgrade():
    op.drop_table("{name}_line")
"""
NOTE = """\
def upgrade():
    op.add_column("{name}", sa.Column("note", sa.String(40), server_default="", nullable=False))


def downgrade():
    with op.batch_alter_table("{name}") as batch:
        batch.drop_column("note")
"""
FAILING = """\
def upgrade():
    op.create_table("{name}_half", sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False))
    op.execute("INSERT INTO {name}_absent VALUES (1)")


def downgrade():
    op.drop_table("{name}_half")
"""


def write(folder: Path, revision: str, below: str | None, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    name = folder.parent.name
    (folder / f"{revision}.py").write_text(HEADER.format(revision=revision, below=below) + text.format(name=name))


def make_extension(folder: Path, name: str = "acme_invoices", **parts: Any) -> Extension:
    """Return an extension with two migrations, written into ``folder``."""
    migrations = folder / name / "migrations"
    if not migrations.exists():
        write(migrations, "0001", None, FIRST)
        write(migrations, "0002", "0001", SECOND)
    return Extension(name=name, version="1.0", face=1, migrations=migrations, **parts)


def list_tables(app: Flask) -> set[str]:
    with app.app_context():
        return set(sa.inspect(db.engine).get_table_names())


def find(app: Flask, extension: Extension | None = None) -> str | None:
    with app.app_context():
        return find_revisions(None if extension is None else make_lineage(extension)).current


def execute(app: Flask, statement: str, **values: object) -> list[Any]:
    with app.app_context(), db.engine.connect().execution_options(is_write=True) as connection:
        result = connection.execute(sa.text(statement), values)
        rows = list(result.all()) if result.returns_rows else []
        connection.commit()
        return rows


def store_row(app: Flask, table: str = "acme_invoices") -> None:
    execute(app, f"INSERT INTO {table} (id, number) VALUES (1, 'A-1')")  # noqa: S608 - a constant
