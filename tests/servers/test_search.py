"""The users' search: the same users for the same words on all three databases, kept in step by each."""

# ruff: noqa: RUF001 - names in several scripts are what is tested

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy.orm import Session

from app.database import make_engine, parse_database_url
from app.database.schema import waiting_for_others
from app.search import SearchIndex, SearchText, choose_condition, make_search_text
from app.search.conditions import has_terms, matches_terms
from app.search.text import make_terms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gatehouse.testing.databases import Databases

pytestmark = pytest.mark.every_database

users = sa.Table(
    "users",
    sa.MetaData(),
    sa.Column("id", sa.Uuid(), primary_key=True),
    sa.Column("name", sa.Unicode(200).with_variant(sa.dialects.mysql.VARCHAR(200, charset="utf8mb4"), "mysql")),
    sa.Column("email", sa.String(254)),
    sa.Column("search_text", SearchText(), nullable=False, server_default=""),
    mysql_engine="InnoDB",
)

INDEX = SearchIndex("users")
NAMES = [
    "José Núñez", "Jose Nunez", "Josefine Müller", "Łukasz Żółć", "Lukas Zolc", "Straße Fuß", "Strasse Fuss",
    "İpek Işık", "Ipek Isik", "Søren Ærø", "田中太郎", "中田", "김철수", "Фёдор Ёлкин", "Федор Елкин", "محمَّد علي",
    "שָׁלוֹם כהן", "हिन्दी नाम", "สมชาย ใจดี", "Đặng Thị", "The And Of", "A B", "O'Brien-Smith", "Renée du Plessis",
    "Ὀδυσσεύς", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "q queue", "x xx xxx", "emoji 🎉 party", "",
]  # fmt: skip
QUERIES = [
    "jos", "josé", "JOSE", "nun", "jose nun", "luk", "łuk", "zol", "stras", "straße", "ipek", "isi", "ışı", "so", "ær",
    "田", "中", "中田", "김", "фед", "фёд", "ел", "محمد", "ع", "של", "हिन", "สม", "dang", "the", "and", "of", "a", "b",
    "o", "bri", "o'brien smith", "ren", "renée d", "οδυ", "unicode", "q", "qu", "x", "xx", "xxx", "🎉", "party",
    "user3", "user3@exa", "example.com", "%", "_", "*", "a* | b", '"the"', "", " ", "zzz", "or", "not x", "com",
]  # fmt: skip


@pytest.fixture(scope="module")
def search_engine(databases: Databases) -> Iterator[sa.Engine]:
    """An engine on a database with users in it."""
    engine = make_engine(parse_database_url(databases.take(is_migrated=False))).execution_options(is_write=True)
    migrate(engine, lambda op: users.create(op.get_bind()))
    # Some before the index is made, some by an older release that did not know the column, some after.
    store(engine, NAMES[:10])
    with engine.begin() as connection:
        connection.execute(
            users.insert(), [make_row(number, name, search_text="") for number, name in enumerate(NAMES[10:20], 10)]
        )
    migrate(engine, lambda op: INDEX.fill(op, "name", "email"))
    migrate(engine, create)
    store(engine, NAMES[20:], first=20)
    yield engine
    engine.dispose()


def create(op: Operations) -> None:
    with waiting_for_others(op):
        INDEX.create(op)


def drop(op: Operations) -> None:
    with waiting_for_others(op):
        INDEX.drop(op)


def migrate(engine: sa.Engine, change: Callable[[Operations], Any]) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        with context.begin_transaction():
            change(Operations(context))
        connection.commit()


def make_row(number: int, name: str, **more: str) -> dict[str, Any]:
    email = f"user{number}@example.com"
    row = {"id": uuid.UUID(int=number), "name": name, "email": email, "search_text": make_search_text(name, email)}
    return row | more


def store(engine: sa.Engine, names: list[str], *, first: int = 0) -> None:
    with engine.begin() as connection:
        connection.execute(users.insert(), [make_row(number, name) for number, name in enumerate(names, first)])


def find(engine: sa.Engine, query: str) -> set[int]:
    terms = make_terms(query)
    condition = matches_terms(users.c.search_text, terms, key=users.c.id, dialect=engine.dialect.name)
    with engine.connect() as connection:
        return {key.int for key in connection.scalars(sa.select(users.c.id).where(condition))}


def expect(query: str) -> set[int]:
    """Return who is to be found, by the definition and not by any database."""
    terms = make_terms(query)
    rows = [make_row(number, name) for number, name in enumerate(NAMES)]
    return {
        row["id"].int
        for row in rows
        if terms and all(any(word.startswith(term) for word in row["search_text"].split()) for term in terms)
    }


def test_every_query_finds_whom_the_definition_says(search_engine: sa.Engine) -> None:
    found = {query: find(search_engine, query) for query in QUERIES}
    assert found == {query: expect(query) for query in QUERIES}
    assert sum(bool(numbers) for numbers in found.values()) > 40


def test_the_way_without_an_index_finds_the_same(search_engine: sa.Engine) -> None:
    with search_engine.connect() as connection:
        for query in QUERIES:
            statement = sa.select(users.c.id).where(has_terms(users.c.search_text, make_terms(query)))
            assert {key.int for key in connection.scalars(statement)} == expect(query)


@pytest.mark.parametrize("page_size", [1, 50], ids=["walked", "indexed"])
@pytest.mark.parametrize("is_descending", [False, True], ids=["ascending", "descending"])
def test_both_ways_to_a_page_give_the_same_page(
    search_engine: sa.Engine, page_size: int, *, is_descending: bool
) -> None:
    order = [column.desc() if is_descending else column for column in (users.c.name, users.c.id)]
    page = sa.select(users.c.id).where(users.c.name > "A").order_by(*order)
    with Session(search_engine) as session:
        for query in QUERIES:
            condition = choose_condition(
                session,
                query,
                page=page,
                page_size=page_size,
                column=users.c.search_text,
                key=users.c.id,
                has_index=True,
            )
            wanted = expect(query)
            everybody = [key for key in session.scalars(page) if key.int in wanted]
            assert session.scalars(page.where(condition).limit(page_size)).all() == everybody[:page_size]


def test_the_index_follows_changes_renamings_and_deletions(search_engine: sa.Engine) -> None:
    key = uuid.UUID(int=1000)
    with search_engine.begin() as connection:
        connection.execute(users.insert(), make_row(1000, "Zacharias Zebra"))
    assert find(search_engine, "zebr") == {1000}
    with search_engine.begin() as connection:
        text = make_search_text("Yannick Yak")
        connection.execute(users.update().where(users.c.id == key).values(search_text=text))
    assert (find(search_engine, "zebr"), find(search_engine, "yak yan")) == (set(), {1000})
    with search_engine.begin() as connection:
        connection.execute(users.delete().where(users.c.id == key))
    assert find(search_engine, "yak") == set()


def test_the_index_is_made_and_taken_away_twice_without_harm(search_engine: sa.Engine) -> None:
    for change in (create, drop, drop, create, create):
        migrate(search_engine, change)
    assert find(search_engine, "jos") == expect("jos")
    with search_engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(users)) == len(NAMES)
