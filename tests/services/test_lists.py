"""Lists of any model: pages over columns of every type, search, exact numbers, and rows of one's own."""

from __future__ import annotations

import base64
import datetime
import decimal
import enum
import itertools
import json
import random
import uuid
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from uuid_utils.compat import uuid7

from app.database.types import EnumString, ExactDecimal, ExactString, UtcDateTime
from app.extensions import db, transaction
from app.schemas.values import Cursor
from app.search import Searched, SearchIndex
from app.services.cursors import InvalidCursor, Sort, is_nullable, read_cursor, write_cursor
from app.services.pages import Listing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask import Flask

D = decimal.Decimal
DAY = datetime.date(2026, 1, 31)
NOON = datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.UTC)


class Color(enum.StrEnum):
    RED = "red"
    BLUE = "blue"
    GREEN = "green"


class Base(DeclarativeBase):
    """Apart from the product's tables."""

    type_annotation_map = {datetime.datetime: UtcDateTime(), uuid.UUID: sa.Uuid()}  # noqa: RUF012


class Thing(Searched, Base):
    __tablename__ = "things"
    __searched__ = ("word", "color")

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    number: Mapped[int] = mapped_column(sa.BigInteger)
    amount: Mapped[decimal.Decimal] = mapped_column(ExactDecimal(12, 2))
    is_red: Mapped[bool]
    day: Mapped[datetime.date]
    instant: Mapped[datetime.datetime]
    word: Mapped[str] = mapped_column(ExactString(40))
    other: Mapped[uuid.UUID]
    color: Mapped[Color] = mapped_column(EnumString(Color))
    maybe_day: Mapped[datetime.date | None]
    maybe_amount: Mapped[decimal.Decimal | None] = mapped_column(ExactDecimal(6, 3))
    maybe_word: Mapped[str | None] = mapped_column(ExactString(40))


class Counted(Base):
    __tablename__ = "counted"

    id: Mapped[int] = mapped_column(primary_key=True)
    word: Mapped[str | None] = mapped_column(ExactString(40), unique=True)


COLUMNS = (
    Thing.number, Thing.amount, Thing.is_red, Thing.day, Thing.instant, Thing.word, Thing.other, Thing.color,
    Thing.maybe_day, Thing.maybe_amount, Thing.maybe_word,
)  # fmt: skip
SORTS = Sort.make_all(*COLUMNS, key=Thing.id)
WIDE = sa.select(*Thing.__table__.columns)
THINGS: Listing[Any] = Listing(WIDE, filters={"color": lambda color: Thing.color == color}, searched=Thing.search_text)
NUMBERS = (0, -1, 7, 2**53 + 1, 2**53, 2**63 - 1, -(2**63) + 1)
AMOUNTS = (D("0"), D("-0.01"), D("9999999999.99"), D("2.50"), D("10"), D("-12.30"))


def make_thing(number: int) -> Thing:
    """Return one of many, whose values are often equal."""
    chosen = random.Random(number)  # noqa: S311 - it keeps no secret
    return Thing(
        number=chosen.choice(NUMBERS),
        amount=chosen.choice(AMOUNTS),
        is_red=chosen.random() < 0.5,
        day=DAY + datetime.timedelta(days=chosen.randrange(3)),
        instant=NOON + datetime.timedelta(microseconds=chosen.randrange(3)),
        word=chosen.choice(["", "ä", "Zebra", "zebra", "o'clock", "100%"]),
        other=uuid.UUID(int=chosen.randrange(3)),
        color=chosen.choice(list(Color)),
        maybe_day=chosen.choice([None, DAY]),
        maybe_amount=chosen.choice([None, None, D("-1.125"), D("3")]),
        maybe_word=chosen.choice([None, "", "a"]),
    )


@pytest.fixture
def things(app: Flask) -> Iterator[None]:
    """Thirty things, and the context of the application that stores them."""
    with app.app_context():
        Base.metadata.create_all(db.engine.execution_options(is_write=True))
        with transaction() as writing:
            writing.add_all(make_thing(number) for number in range(30))
        yield
        db.session.rollback()
        Base.metadata.drop_all(db.engine.execution_options(is_write=True))


def walk(sort: Sort, limit: int, **values: Any) -> list[Any]:
    rows: list[Any] = []
    cursor = None
    while True:
        page = THINGS.get_page(sort, limit=limit, cursor=cursor, **values)
        rows += page.items
        cursor = page.next_cursor
        if cursor is None:
            return rows
        assert len(page.items) == limit


def rank(value: Any) -> tuple[bool, Any]:
    return (value is not None, 0 if value is None else value)


@pytest.mark.usefixtures("things")
@pytest.mark.parametrize("name", SORTS)
def test_a_list_is_walked_by_a_column_of_any_type(name: str) -> None:
    sort = SORTS[name]
    with db.reading() as reading:
        everything = list(reading.execute(WIDE))
    wanted = sorted(
        everything, key=lambda row: (rank(getattr(row, sort.column.key)), row.id), reverse=sort.is_descending
    )
    for limit in (1, 4, 30):
        walked = [row.id for row in walk(sort, limit)]
        # PostgreSQL's own UUIDs and SQLite's texts of them have one order; so have members of an enumeration.
        assert walked == [row.id for row in wanted]


@pytest.mark.usefixtures("things")
@pytest.mark.parametrize("name", ["maybe_day", "-maybe_amount"])
def test_a_walk_neither_skips_nor_repeats_what_stays_while_others_come_and_go(name: str) -> None:
    sort = SORTS[name]
    kept = {row.id for row in walk(sort, 30)}
    seen: list[uuid.UUID] = []
    cursor = None
    for number in itertools.count(100):
        page = THINGS.get_page(sort, limit=3, cursor=cursor)
        seen += [row.id for row in page.items]
        with transaction() as writing:
            gone = page.items[-1].id
            writing.execute(sa.delete(Thing).where(Thing.id == gone))
            writing.add(make_thing(number))
        cursor = page.next_cursor
        if cursor is None or number > 200:
            break
    assert len(seen) == len(set(seen))
    assert kept <= set(seen)


@pytest.mark.usefixtures("things")
def test_a_list_is_filtered_and_searched_by_reading_where_there_is_no_index() -> None:
    red = walk(SORTS["day"], 4, color=Color.RED)
    assert red
    assert {row.color for row in red} == {Color.RED}
    found = walk(SORTS["-number"], 4, search="ZEB blu")
    with db.reading() as reading:
        wanted = reading.scalars(
            sa.select(Thing.id).where(sa.func.lower(Thing.word) == "zebra", Thing.color == Color.BLUE)
        ).all()
    assert {row.id for row in found} == set(wanted) != set()
    assert walk(SORTS["day"], 4, search="!!") == []


@pytest.mark.usefixtures("things")
@pytest.mark.parametrize("name", ["day", "-maybe_day", "maybe_amount"])
def test_a_search_by_an_index_of_its_own_table_finds_the_same(name: str, app: Flask) -> None:
    del app
    indexed: Listing[Any] = Listing(WIDE, filters={}, searched=Thing.search_text, has_search_index=True)
    wanted = [row.id for row in walk(SORTS[name], 30, search="green")]
    db.session.rollback()
    # As a migration runs it: PostgreSQL makes it while nobody waits, in no transaction.
    level = "AUTOCOMMIT" if db.engine.dialect.name == "postgresql" else "SERIALIZABLE"
    with db.engine.connect().execution_options(is_write=True, isolation_level=level) as connection:
        SearchIndex("things").create(Operations(MigrationContext.configure(connection)))
        connection.commit()
    try:
        rows: list[Any] = []
        cursor = None
        for _ in range(30):
            page = indexed.get_page(SORTS[name], limit=3, cursor=cursor, search="green")
            rows += page.items
            cursor = page.next_cursor
            if cursor is None:
                break
        assert [row.id for row in rows] == wanted != []
    finally:
        with db.engine.connect().execution_options(is_write=True, isolation_level=level) as connection:
            SearchIndex("things").drop(Operations(MigrationContext.configure(connection)))
            connection.commit()


@pytest.mark.usefixtures("things")
def test_search_text_follows_what_it_is_made_of() -> None:
    with transaction() as writing:
        thing = make_thing(1)
        thing.word = "Quokka"
        writing.add(thing)
    assert [row.id for row in walk(SORTS["day"], 5, search="quok")] == [thing.id]
    with transaction() as writing:
        writing.get_one(Thing, thing.id).word = "Wombat"
    assert walk(SORTS["day"], 5, search="quok") == []
    assert [row.id for row in walk(SORTS["day"], 5, search="wom")] == [thing.id]


@pytest.mark.usefixtures("things")
def test_a_list_is_walked_by_whole_numbers_as_keys_and_a_unique_column_may_lack_values() -> None:
    sorts = Sort.make_all(Counted.word, key=Counted.id)
    assert not sorts["word"].is_unique  # two rows without a value are equals
    counted: Listing[Any] = Listing(sa.select(*Counted.__table__.columns), filters={})
    with transaction() as writing:
        writing.add_all(Counted(word=word) for word in (None, "b", None, "a", None))
    for sort, wanted in ((sorts["word"], [1, 3, 5, 4, 2]), (sorts["-word"], [2, 4, 5, 3, 1])):
        rows = [row.id for page in counted.walk(sort) for row in page]
        assert rows == wanted
        first = counted.get_page(sort, limit=2, cursor=None)
        second = counted.get_page(sort, limit=3, cursor=first.next_cursor)
        assert [row.id for row in (*first.items, *second.items)] == wanted


BAD_VALUES: dict[str, list[str]] = {
    "number": ["x", "1.5", str(2**63), "-" + "9" * 400, "", "\uff11", "1_0"],
    "amount": ["NaN", "Infinity", "1e999999999", "1.001", "99999999999", "", "x"],
    "is_red": ["true", "1", ""],
    "day": ["2026-02-30", "yesterday", ""],
    "instant": ["2026-01-31T12:00:00", "x"],
    "word": ["a\0b", "\ud800"],
    "other": ["x", ""],
    "color": ["purple", ""],
    "maybe_day": ["x"],
}


@pytest.mark.usefixtures("things")
@pytest.mark.parametrize("name", BAD_VALUES)
def test_a_cursor_with_a_value_that_no_row_could_have_is_refused(name: str) -> None:
    key = str(uuid7())
    wrong: list[Any] = [[name, value, key] for value in BAD_VALUES[name]]
    no_texts: list[Any] = [1, True, [], {}]
    if not is_nullable(SORTS[name].column):
        no_texts.append(None)
    wrong += [[name, no_text, key] for no_text in no_texts]
    wrong += [[f"-{name}", "", key], [name], [name, "1", "x"], [name, "1", None], [name, "1", 5]]
    for parts in wrong:
        cursor = base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")
        with pytest.raises(InvalidCursor):
            THINGS.get_page(SORTS[name], limit=3, cursor=cursor)


@pytest.mark.usefixtures("things")
def test_amounts_are_exact_and_summed_up_and_compared_as_numbers() -> None:
    with transaction() as writing:
        writing.execute(sa.delete(Thing))
        things = [make_thing(number) for number in range(3)]
        for thing, amount in zip(things, (D("0.10"), D("0.20"), D("9999999999.69")), strict=True):
            thing.amount = amount
        writing.add_all(things)
    with db.reading() as reading:
        assert str(reading.scalar(sa.select(sa.func.sum(Thing.amount)))) == "9999999999.99"
        assert str(reading.scalar(sa.select(sa.func.max(Thing.amount)))) == "9999999999.69"
        assert reading.scalars(sa.select(Thing.amount).where(Thing.amount == D("0.1"))).all() == [D("0.10")]
        assert reading.scalar(sa.select(sa.func.count()).where(Thing.amount > D("0.1"))) == 2
        assert reading.scalar(sa.select(Thing.amount).where(Thing.amount.between(D("0.15"), 1))) == D("0.20")


@pytest.mark.usefixtures("things")
@pytest.mark.parametrize("value", [D("1.001"), D("NaN"), D("1e10"), D("Infinity"), 1.5, True, "1"])
def test_an_amount_that_would_be_rounded_is_refused_and_nothing_stored(value: Any) -> None:
    thing = make_thing(1)
    thing.amount = value
    with pytest.raises(sa.exc.StatementError), transaction() as writing:
        writing.add(thing)
    with db.reading() as reading:
        assert reading.scalar(sa.select(sa.func.count()).select_from(Thing)) == 30


@pytest.mark.usefixtures("things")
def test_only_members_of_an_enumeration_are_stored() -> None:
    thing: Any = make_thing(1)
    thing.color = "purple"
    with pytest.raises(sa.exc.StatementError), transaction() as writing:
        writing.add(thing)
    with pytest.raises(ValueError, match="longer than 3"):
        EnumString(Color, length=3)
    with pytest.raises(ValueError, match="at most 18 digits"):
        ExactDecimal(19, 2)
    with pytest.raises(TypeError, match="load it first"):
        _ = Thing.amount * 2


@pytest.mark.parametrize(
    ("column_type", "wanted"),
    [
        (sa.Float(), "take Decimal, UUID, bool, date, datetime, int, str"),
        (sa.LargeBinary(8), "take Decimal"),
        (sa.DateTime(), "make it UtcDateTime"),
        (sa.DateTime(timezone=True), "make it UtcDateTime"),
        (sa.Text(), "make it ExactString of at most 255 characters"),
        (ExactString(256), "make it ExactString of at most 255 characters"),
    ],
)
def test_a_column_whose_second_page_nobody_could_reach_is_refused_at_once(column_type: Any, wanted: str) -> None:
    class Own(DeclarativeBase):
        pass

    class Odd(Own):
        __tablename__ = "odd"
        id: Mapped[uuid.UUID] = mapped_column(sa.Uuid(), primary_key=True)
        value: Mapped[Any] = mapped_column(column_type)

    with pytest.raises(LookupError, match=f"no list is sorted by Odd.value of the type .*: {wanted}"):
        Sort.make_all(Odd.value, key=Odd.id)


@pytest.mark.parametrize("character", ["a", "\U0001f600", '"', "\\"])
def test_the_cursor_of_the_longest_text_is_one_that_is_taken(character: str) -> None:
    class Own(DeclarativeBase):
        pass

    class Wide(Own):
        __tablename__ = "wide"
        id: Mapped[uuid.UUID] = mapped_column(sa.Uuid(), primary_key=True)
        a_column_with_quite_a_long_name: Mapped[str] = mapped_column(ExactString(255))

    sort = Sort.make_all(Wide.a_column_with_quite_a_long_name, key=Wide.id)["-a_column_with_quite_a_long_name"]
    cursor = write_cursor(Wide(id=uuid7(), a_column_with_quite_a_long_name=character * 255), sort)
    assert Cursor().deserialize(cursor) == cursor
    assert read_cursor(cursor, sort)[0] == character * 255
