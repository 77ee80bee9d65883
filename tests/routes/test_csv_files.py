"""Lists as CSV files: what a spreadsheet opens, and how it is sent."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from marshmallow import fields

from app import create_app
from app.config import Settings
from app.extending import Extension
from app.extensions import db
from app.http.csv_files import answer_csv, write_line
from app.http.openapi import Blueprint
from app.schemas import Output
from app.security import requires
from gatehouse.testing.factories import Factory
from gatehouse.testing.fixtures import close

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flask import Flask, Response

PATH = "/api/v1/words.csv"


class WordOutput(Output):
    """A word."""

    id = fields.Integer(required=True)
    word = fields.String(required=True)
    good = fields.Boolean(required=True, allow_none=True)


@pytest.fixture
def serve(environ: dict[str, str]) -> Iterator[Callable[[Callable[[], Iterator[Any]]], Flask]]:
    """Make an application that answers with the pages that a function yields."""
    apps: list[Flask] = []

    def make(walk: Callable[[], Iterator[Any]]) -> Flask:
        blueprint = Blueprint("acme_words", "acme_words.routes", url_prefix=PATH, description="Words")

        @blueprint.route("")
        @blueprint.csv(WordOutput)
        @requires()
        def export_words() -> Response:
            """Download the words."""
            return answer_csv("words", WordOutput, walk())

        extension = Extension(name="acme_words", version="1", face=1, blueprints=[blueprint])
        apps.append(create_app(Settings.from_environ(environ), [extension]))
        return apps[-1]

    yield make
    for app in apps:
        close(app)


def get(app: Flask) -> Any:
    factory = Factory(app)
    return factory.sign_in(factory.user()).get(PATH)


@pytest.mark.parametrize(
    "text", ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1", "\uff0b1", "\uff20x"]
)
def test_no_text_begins_as_a_formula_would(text: str) -> None:
    ((cell,),) = csv.reader(io.StringIO(write_line([text]), newline=""))
    assert cell == f"'{text}"


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("-12.50", "-12.50"),
        (-3, "-3"),
        (0.5, "0.5"),
        (True, "true"),
        (False, "false"),
        (None, ""),
        ("a=b", "a=b"),
        ("", ""),
    ],
)
def test_numbers_stay_numbers_and_other_values_are_plain(value: object, cell: str) -> None:
    assert next(csv.reader([write_line([value, "x"])]))[0] == cell


def test_whatever_a_cell_holds_it_stays_one_cell() -> None:
    texts = ['say "hi"', "a,b", "two\nlines", "semi;colon", " blank ", "ä李👩🏽‍💻"]
    line = write_line(texts)
    assert line.endswith("\r\n")
    assert list(csv.reader(io.StringIO(line, newline=""))) == [texts]


def test_a_list_is_sent_page_by_page_with_nothing_held_between(serve: Callable[..., Flask]) -> None:
    checked_out: list[int] = []

    def walk() -> Iterator[Any]:
        for page in range(3):
            db.session.execute(sa.select(1))
            yield [{"id": page * 2 + number, "word": "=x", "good": None} for number in range(2)]

    app = serve(walk)
    factory = Factory(app)
    browser = factory.sign_in(factory.user())
    response = browser.get(PATH, buffered=False)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert response.headers["Content-Disposition"] == 'attachment; filename="words.csv"'
    pool: Any = app.extensions["database"].kw["bind"].pool
    text = ""
    for piece in response.response:
        text += piece.decode() if isinstance(piece, bytes) else piece
        checked_out.append(pool.checkedout())
    response.close()
    assert [row["id"] for row in csv.DictReader(io.StringIO(text))] == [str(number) for number in range(6)]
    assert set(checked_out[1:]) <= {0}


def test_an_empty_list_is_a_file_with_its_columns(serve: Callable[..., Flask]) -> None:
    assert get(serve(lambda: iter(()))).text == "id,word,good\r\n"
    assert get(serve(lambda: iter([[]]))).text == "id,word,good\r\n"


def test_what_fails_before_the_first_page_is_a_problem_and_no_half_file(serve: Callable[..., Flask]) -> None:
    def fail() -> Iterator[Any]:
        yield from ()
        raise RuntimeError("the first page is away")

    response = get(serve(fail))
    assert (response.status_code, response.get_json()["code"]) == (500, "internal_error")


def test_the_document_says_which_columns_there_are(serve: Callable[..., Flask]) -> None:
    document = serve(lambda: iter(())).test_client().get("/openapi.json").get_json()
    answer = document["paths"][PATH]["get"]["responses"]["200"]
    assert answer["content"] == {"text/csv": {"schema": {"type": "string"}}}
    assert answer["description"] == "A line for each row, in the columns id, word, good."
