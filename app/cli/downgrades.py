"""What a downgrade would take away from under other people's tables."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TypeAlias

import sqlalchemy as sa
from alembic import command
from alembic.util import CommandError

from app.database import make_database_file, make_engine, parse_database_url
from app.extending.tables import is_bookkeeping
from app.extensions import db

from .migrations import Lineage, find_revisions, list_tables
from .terminal import Failure, spell_command

_Columns: TypeAlias = set[tuple[str, str]]


def refuse_downgrade(lineage: Lineage, revision: str) -> None:
    """Refuse to take away what another owner's tables refer to; SQLite would do it without a word, MariaDB half.

    Raises:
        Failure: naming the tables. Nothing was changed.
    """
    with db.engine.connect() as connection:
        own = list_tables(connection, lineage.owner)
        references = list(list_references(connection, own))
    current = find_revisions(lineage).current
    if not references or current is None:
        return
    gone = _find_what_goes(lineage, current, revision)
    lost = sorted({(table, to) for table, to, columns in references if any((to, column) in gone for column in columns)})
    if lost:
        named = ", ".join(f"{table} refers to {to}" for table, to in lost)
        raise Failure(
            f"This downgrade would take away what other tables need: {named}. Downgrade or remove their extensions"
            f" first: {spell_command('extension remove NAME --with-data')}. Nothing was changed."
        )


def list_references(connection: sa.Connection, own: Collection[str]) -> Iterator[tuple[str, str, list[str]]]:
    """Yield each reference of a table that is not among ``own`` to one that is: its name, the other's, and columns."""
    inspector = sa.inspect(connection)
    for table in sorted(set(inspector.get_table_names()) - set(own)):
        if is_bookkeeping(table):
            continue
        for key in inspector.get_foreign_keys(table):
            if key["referred_table"] in own:
                yield table, key["referred_table"], key["referred_columns"]


def _find_what_goes(lineage: Lineage, current: str, revision: str) -> _Columns:
    """Return the columns that the migrations down to ``revision`` take away, as an empty SQLite of our own shows."""
    with tempfile.TemporaryDirectory() as folder:
        target = parse_database_url(f"sqlite:///{Path(folder) / 'scratch.db'}")
        make_database_file(target)
        engine = make_engine(target)
        try:
            if lineage.owner is not None:
                _run_there(engine, Lineage(), "head")
            for each in current.split(", "):
                _run_there(engine, lineage, each)
            before = _list_columns(engine)
            _run_there(engine, lineage, revision, is_upgrade=False)
            return before - _list_columns(engine)
        except CommandError as error:
            raise Failure(str(error)) from error
        finally:
            engine.dispose()


def _run_there(engine: sa.Engine, lineage: Lineage, revision: str, *, is_upgrade: bool = True) -> None:
    config = lineage.make_config()
    config.attributes.update(engine=engine, is_locked=True)
    (command.upgrade if is_upgrade else command.downgrade)(config, revision)


def _list_columns(engine: sa.Engine) -> _Columns:
    with engine.connect() as connection:
        inspector = sa.inspect(connection)
        return {
            (table, column["name"]) for table in inspector.get_table_names() for column in inspector.get_columns(table)
        }
