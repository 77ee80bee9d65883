"""Bad input to every endpoint, for every field: a clear refusal that names the field, and nothing stored."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final

import pytest
from flask import Response
from marshmallow import fields, validate

import app as package
from app import create_app
from app.config import Settings
from app.http.openapi import Blueprint
from app.http.problems import UNNAMED
from app.models import NAME_MAX_LENGTH
from app.routes import BLUEPRINTS
from app.schemas import Input
from app.schemas.values import Flag, Instant, Text, Whole
from app.security import public
from gatehouse.testing import bad_input
from gatehouse.testing.databases import TEST_ENVIRON
from gatehouse.testing.factories import PASSWORD, Browser, Factory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flask import Flask

    from gatehouse.testing.bad_input import Operation

# The document decides which tests there are: a new operation is tried without a word here.
DOCUMENT: Final = (
    create_app(Settings.from_environ(TEST_ENVIRON | {"DATABASE_URL": "sqlite:///nowhere/app.db"}))
    .test_client()
    .get("/openapi.json")
    .get_json()
)
OPERATIONS: Final = {str(operation): operation for operation in bad_input.list_operations(DOCUMENT)}
WITH_BODY: Final = [name for name, operation in OPERATIONS.items() if operation.body is not None]
WITH_QUERY: Final = [name for name, operation in OPERATIONS.items() if operation.query]
REGISTRATION: Final = {"email": "new@example.com", "password": PASSWORD, "name": "New"}


class Place:
    """One application for all cases: none of them may change anything."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        factory = Factory(app)
        self.admin: Browser = factory.sign_in(factory.admin())
        factory.role(name="editor")
        # Where the document's example exists in no database.
        values = {"user_id": str(factory.user().id)}
        self.operations = {str(each): each for each in bad_input.list_operations(DOCUMENT, values)}

    def send(self, method: str, path: str, **options: Any) -> Any:
        """Send a call as an administrator."""
        answer = self.admin.get(path) if method == "GET" else self.admin.send(method, path, **options)
        for field, coded in (answer.get_json() or {}).get("error_codes", {}).items():
            assert UNNAMED not in {each["code"] for each in coded}, f"{method} {path}: {field}: {answer.text}"
        return answer


@pytest.fixture(scope="module")
def place(make_shared_app: Any) -> Place:
    return Place(make_shared_app())


@pytest.fixture
def untouched(place: Place) -> Iterator[Place]:
    """The place, in which nothing may have been stored afterwards."""
    before = bad_input.take_stock(place.app)
    yield place
    assert bad_input.take_stock(place.app) == before


def test_every_operation_that_takes_a_body_or_a_query_is_tried() -> None:
    taking = {
        f"{method.upper()} {path}"
        for path, operations in DOCUMENT["paths"].items()
        for method, operation in operations.items()
        if isinstance(operation, dict) and {"requestBody", "parameters"} & operation.keys()
        if "requestBody" in operation or any(each["in"] == "query" for each in operation["parameters"])
    }
    assert taking == OPERATIONS.keys()
    assert len(WITH_BODY) >= 11
    assert len(WITH_QUERY) >= 3


@pytest.mark.parametrize("name", WITH_BODY)
@pytest.mark.parametrize(
    "refuses",
    [
        bad_input.assert_refuses_wrong_values,
        bad_input.assert_refuses_missing_fields,
        bad_input.assert_refuses_unknown_fields,
        bad_input.assert_refuses_wrong_bodies,
    ],
    ids=lambda refuses: refuses.__name__.removeprefix("assert_refuses_"),
)
def test_a_body_is_refused_by_the_name_of_what_is_wrong(
    untouched: Place, name: str, refuses: Callable[[Operation, Any], None]
) -> None:
    refuses(untouched.operations[name], untouched.send)


@pytest.mark.parametrize("name", WITH_QUERY)
def test_a_wrong_query_is_refused_by_the_name_of_its_parameter(untouched: Place, name: str) -> None:
    bad_input.assert_refuses_wrong_queries(untouched.operations[name], untouched.send)


@pytest.mark.parametrize("query", ["actor=me", "target=%0a", "action=%00", "until=0001-01-01T00:00:00%2B23:00"])
def test_a_wrong_filter_is_refused_by_its_name(place: Place, query: str) -> None:
    response = place.admin.get(f"/api/v1/audit?{query}")
    assert response.status_code == 422
    assert list(response.get_json()["errors"]) == [query.partition("=")[0]]


@pytest.mark.parametrize(("route", "field"), [("login", "email"), ("register", "email"), ("register", "name")])
def test_many_marks_on_one_letter_cost_no_time(browser: Browser, route: str, field: str) -> None:
    body = {field: value for field, value in REGISTRATION.items() if route == "register" or field != "name"}
    marks = "a" + "\u0301\u0327" * 15_000  # Unicode sorts them, in the square of their number
    data = json.dumps(body | {field: f"{marks}@example.com"}, ensure_ascii=False).encode()
    headers = {"X-CSRF-Token": browser.csrf_token()}
    started_at = time.process_time()
    response = browser.client.post(f"/api/v1/auth/{route}", data=data, content_type="application/json", headers=headers)
    assert time.process_time() - started_at < 0.5
    assert list(response.get_json()["errors"]) == [field]


def test_a_decomposed_text_is_as_long_as_its_composed_form(browser: Browser) -> None:
    name = "\u03b1\u0313\u0300\u0345" * NAME_MAX_LENGTH
    assert browser.post("/api/v1/auth/register", REGISTRATION | {"name": name}).status_code == 201


# What takes too much, by the field's kind: each is found by one of the values.
LAX: Final[dict[str, Any]] = {
    "text of any length and characters": fields.String(required=True),
    "a number of any size": fields.Integer(required=True),
    "what Python takes for true": fields.Boolean(required=True),
    "a text that may be empty, though required": Text(max_length=9, required=True),
    "a date of one's own making": fields.Function(deserialize=str, required=True, metadata={"type": "string"}),
    "a list without bounds": fields.List(fields.String(), required=True),
    "more than the document says": fields.Raw(required=True, metadata={"type": "integer", "minimum": 1}),
    "null, which the document does not offer": fields.Raw(required=True, metadata={"type": ["string"]}),
}


def make_blueprint(schema: type[Input]) -> Blueprint:
    """Return a blueprint with an operation that takes a body."""
    blueprint = Blueprint("more", __name__, url_prefix="/api/v1/more", description="More")

    @blueprint.route("", methods=["POST"])
    @blueprint.response(204)
    @blueprint.arguments(schema)
    @public
    def take(body: dict[str, Any]) -> Response:
        """Take a body."""
        assert body
        return Response(status=204)

    return blueprint


@pytest.fixture
def try_more(make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch) -> Callable[[type[Input]], None]:
    """Try bad input on one more operation, which takes a body of that schema."""

    def try_it(schema: type[Input]) -> None:
        monkeypatch.setattr(package, "BLUEPRINTS", (*BLUEPRINTS, make_blueprint(schema)))
        browser = Browser(make_app())
        document = browser.get("/openapi.json").get_json()
        operations = {str(each): each for each in bad_input.list_operations(document)}
        assert OPERATIONS.keys() < operations.keys()
        bad_input.assert_refuses_bad_input(browser.app, operations["POST /api/v1/more"], browser.send)

    return try_it


@pytest.mark.parametrize("what", LAX)
@pytest.mark.only_on("sqlite", reason="nothing is stored")
def test_a_field_that_takes_what_it_should_not_is_found(what: str, try_more: Callable[[Any], None]) -> None:
    with pytest.raises(AssertionError, match="limits"):
        try_more(Input.from_dict({"limits": LAX[what]}, name="LaxInput"))


@pytest.mark.only_on("sqlite", reason="nothing is stored")
def test_a_field_that_takes_only_what_the_document_says_passes(try_more: Callable[[Any], None]) -> None:
    class LineInput(Input):
        text = Text(max_length=20, min_length=1, required=True)
        note = Text(max_length=20, allow_none=True)

    class StrictInput(Input):
        title = Text(max_length=20, min_length=2, required=True)
        note = Text(max_length=20, allow_none=True, load_default=None)
        count = Whole(validate=validate.Range(min=1, max=9), allow_none=True)
        is_done = Flag(allow_none=True)
        due_at = Instant(allow_none=True, required=True)
        owner = fields.UUID(allow_none=True)
        status = fields.String(validate=validate.OneOf(["draft", "paid"]), allow_none=True)
        line = fields.Nested(LineInput, allow_none=True)
        lines = fields.List(fields.Nested(LineInput), required=True, validate=validate.Length(min=1, max=3))

    try_more(StrictInput)
