"""A CSV file that fails in its middle: the transfer breaks off, so that nobody takes it for the whole list."""

from __future__ import annotations

import http.client
import json
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from gatehouse.testing.databases import TEST_ENVIRON
from gatehouse.testing.servers.postgres import Postgres
from gatehouse.testing.servers.product import Product
from gatehouse.testing.servers.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The third page cannot be shown, or each takes a question that is long enough to wait for its reader.
PACKAGE = '''
"""Words, as CSV."""

import sqlalchemy as sa
from marshmallow import fields

from gatehouse import Blueprint, Extension, Output, answer_csv, db, public, retried

blueprint = Blueprint("acme_words", __name__, url_prefix="/api/v1/words", description="Words")


class WordOutput(Output):
    """A word."""

    number = fields.Integer(required=True)
    word = fields.String(required=True)


def walk_wrong():
    for page in range(6):
        yield [{"number": "x" if page == 2 else page, "word": "x" * 300_000}]


@retried
def read_page(page):
    query = "SELECT 7 AS number, repeat('x', 1000) AS word FROM generate_series(1, 1000)"
    return db.session.execute(sa.text(query)).all()


def walk_database():
    for page in range(60):
        yield read_page(page)


@blueprint.route("/wrong.csv")
@blueprint.csv(WordOutput)
@public
def export_wrong():
    """Download words of which one cannot be read."""
    return answer_csv("words", WordOutput, walk_wrong())


@blueprint.route("/words.csv")
@blueprint.csv(WordOutput)
@public
def export_words():
    """Download words."""
    return answer_csv("words", WordOutput, walk_database())


extension = Extension(name="acme_words", version="1", face=1, blueprints=[blueprint])
'''

pytestmark = pytest.mark.server("postgresql")


@pytest.fixture
def database() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


@pytest.fixture
def product(database: Postgres, tmp_path: Path) -> Iterator[Product]:
    package = tmp_path / "acme_words"
    package.mkdir()
    (package / "__init__.py").write_text(PACKAGE)
    environ = TEST_ENVIRON | {
        "APP_EXTENSIONS": package.name,
        "DATABASE_URL": database.make_url(),
        "LOG_FORMAT": "json",
        "PYTHONPATH": str(tmp_path),
    }
    product = Product(environ, folder=tmp_path)
    product.migrate()
    with product:
        yield product


@contextmanager
def ask(product: Product, path: str, *, version: int = 11) -> Iterator[http.client.HTTPResponse]:
    """Begin to download a file, and see it break off."""
    connection = http.client.HTTPConnection("127.0.0.1", product.port, timeout=60)
    connection._http_vsn, connection._http_vsn_str = version, f"HTTP/1.{version % 10}"  # type: ignore[attr-defined]
    with closing(connection):
        connection.request("GET", f"/api/v1/words/{path}", headers={"Host": "127.0.0.1"})
        answer = connection.getresponse()
        assert answer.status == 200
        yield answer
        # There is no last chunk, or the connection is reset.
        with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
            answer.read()


def read_errors(product: Product) -> list[dict[str, Any]]:
    """Return the lines of the log about errors, once there is one; all that the log holds are lines of JSON."""

    def read() -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in product.log.read_text().splitlines()]
        return [line for line in lines if line["level"] == "error"]

    wait_until(read, within_seconds=10, what="an error in the log")
    return read()


@pytest.mark.parametrize("version", [10, 11])
def test_a_row_that_cannot_be_shown_breaks_the_file_off_with_one_line_in_the_log(
    product: Product, version: int
) -> None:
    # By HTTP/1.0, which some proxies speak by default, an answer of unknown length ends with its connection.
    with ask(product, "wrong.csv", version=version) as answer:
        assert answer.headers["Transfer-Encoding"] == (None if version == 10 else "chunked")
    (line,) = read_errors(product)
    assert "cut off" in line["message"]
    assert line["request_id"] == answer.headers["X-Request-ID"]


def test_a_database_that_is_killed_breaks_the_file_off_with_one_line_in_the_log(
    product: Product, database: Postgres
) -> None:
    with ask(product, "words.csv") as answer:
        assert answer.read(100_000)
        database.stop()
    (line,) = [line for line in read_errors(product) if line["logger"].endswith("answer")]
    assert "cut off" in line["message"]
