"""The full-text index of the users: made, filled and taken away by a migration, kept in step by each database."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from .schema import waiting_for_others
from .search import make_search_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alembic.operations import Operations

TABLE: Final = "users"
COLUMN: Final = "search_text"
INDEX: Final = "ix_users_search"
FILL_BATCH: Final = 500

_SQLITE_UP: Final = (
    # A rowid of its own: those of a table whose key is no integer change in a VACUUM.
    (
        "CREATE TABLE IF NOT EXISTS users_search_rows"
        " (number INTEGER PRIMARY KEY, key CHAR(32) NOT NULL UNIQUE, search_text TEXT NOT NULL)"
    ),
    (
        "CREATE VIRTUAL TABLE IF NOT EXISTS users_search USING fts5 (search_text, content='users_search_rows',"
        " content_rowid='number', tokenize='ascii', prefix='3 4 5 6', detail='none', columnsize=0)"
    ),
    (
        "CREATE TRIGGER IF NOT EXISTS users_search_insert AFTER INSERT ON users BEGIN"
        " INSERT INTO users_search_rows (key, search_text) VALUES (new.id, new.search_text); END"
    ),
    (
        "CREATE TRIGGER IF NOT EXISTS users_search_update AFTER UPDATE OF id, search_text ON users BEGIN"
        " UPDATE users_search_rows SET key = new.id, search_text = new.search_text WHERE key = old.id; END"
    ),
    (
        "CREATE TRIGGER IF NOT EXISTS users_search_delete AFTER DELETE ON users BEGIN"
        " DELETE FROM users_search_rows WHERE key = old.id; END"
    ),
    (
        "CREATE TRIGGER IF NOT EXISTS users_search_rows_insert AFTER INSERT ON users_search_rows BEGIN"
        " INSERT INTO users_search (rowid, search_text) VALUES (new.number, new.search_text); END"
    ),
    (
        "CREATE TRIGGER IF NOT EXISTS users_search_rows_delete AFTER DELETE ON users_search_rows BEGIN"
        " INSERT INTO users_search (users_search, rowid, search_text)"
        " VALUES ('delete', old.number, old.search_text); END"
    ),
    (
        "CREATE TRIGGER IF NOT EXISTS users_search_rows_update AFTER UPDATE ON users_search_rows BEGIN"
        " INSERT INTO users_search (users_search, rowid, search_text) VALUES ('delete', old.number, old.search_text);"
        " INSERT INTO users_search (rowid, search_text) VALUES (new.number, new.search_text); END"
    ),
    (
        "INSERT INTO users_search_rows (key, search_text) SELECT id, search_text FROM users"
        " WHERE id NOT IN (SELECT key FROM users_search_rows)"
    ),
)
_SQLITE_DOWN: Final = (
    "DROP TRIGGER IF EXISTS users_search_insert",
    "DROP TRIGGER IF EXISTS users_search_update",
    "DROP TRIGGER IF EXISTS users_search_delete",
    "DROP TABLE IF EXISTS users_search_rows",
    "DROP TABLE IF EXISTS users_search",
)


def is_search_object(name: str | None) -> bool:
    """Say whether a table or index of this name belongs to the search, and so is in no model."""
    return name is not None and (name == INDEX or name.startswith("users_search"))


def create_search(op: Operations) -> None:
    """Make the full-text index of ``users.search_text``; doing it twice changes nothing more.

    On PostgreSQL nobody waits for it (CREATE INDEX CONCURRENTLY). On MySQL reads go on meanwhile, writes wait. On
    SQLite it consists of triggers, which go away where Alembic's batch mode makes ``users`` anew: such a migration
    calls ``drop_search`` first and ``create_search`` afterwards.
    """
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        vector = f"to_tsvector('simple'::regconfig, {COLUMN})"
        with _each_on_its_own(op), waiting_for_others(op.get_bind()):
            # One that was interrupted is there, and invalid.
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {INDEX}")
            op.execute(f"CREATE INDEX CONCURRENTLY {INDEX} ON {TABLE} USING gin (({vector}))")
    elif connection.dialect.name == "sqlite":
        for statement in _SQLITE_UP:
            op.execute(statement)
    elif INDEX not in _list_indexes(connection):
        op.execute(f"CREATE FULLTEXT INDEX {INDEX} ON {TABLE} ({COLUMN})")


def drop_search(op: Operations) -> None:
    """Take the full-text index away; doing it twice changes nothing more."""
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        with _each_on_its_own(op), waiting_for_others(op.get_bind()):
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {INDEX}")
    elif connection.dialect.name == "sqlite":
        for statement in _SQLITE_DOWN:
            op.execute(statement)
    elif INDEX in _list_indexes(connection):
        op.execute(f"DROP INDEX {INDEX} ON {TABLE}")


def fill_search_text(op: Operations) -> None:
    """Give every user that has none the search text of name and e-mail, in batches that nobody waits long for."""
    users = sa.table(TABLE, sa.column("id", sa.Uuid()), sa.column("name"), sa.column("email"), sa.column(COLUMN))
    missing = sa.select(users.c.id, users.c.name, users.c.email).where(users.c[COLUMN] == "").order_by(users.c.id)
    last = None
    with _each_on_its_own(op):
        while True:
            query = missing if last is None else missing.where(users.c.id > last)
            rows = op.get_bind().execute(query.limit(FILL_BATCH)).all()
            if not rows:
                return
            last = rows[-1].id
            texts = {row.id: make_search_text(row.name, row.email) for row in rows}
            # One statement for the batch. Whoever renamed a user meanwhile has written the newer text.
            op.get_bind().execute(
                sa.update(users)
                .where(users.c.id.in_(texts), users.c[COLUMN] == "")
                .values({COLUMN: sa.case(texts, value=users.c.id)})
            )


def _list_indexes(connection: sa.Connection) -> set[str | None]:
    return {index["name"] for index in sa.inspect(connection).get_indexes(TABLE)}


@contextlib.contextmanager
def _each_on_its_own(op: Operations) -> Iterator[None]:
    """Commit each statement of the block by itself, where the database can change its schema in a transaction."""
    if op.get_bind().dialect.name == "sqlite":
        yield
        return
    with op.get_context().autocommit_block():
        yield
