"""What blueprints of other packages look like in the OpenAPI document, and what is refused of them."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from marshmallow import fields, validate
from openapi_spec_validator import validate as validate_document

import app as package
from app import create_app
from app.config import Settings
from app.extending import Extension
from app.http.openapi import Blueprint
from app.models import Session
from app.routes import BLUEPRINTS
from app.schemas import Input, Output, PageQuery
from app.schemas.values import Text
from app.security import requires

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask

pytestmark = pytest.mark.no_database


def make_invoices(owner: str, **resource: Any) -> Blueprint:
    """Return the blueprint of a package called ``owner``, which has the same names inside as any other."""
    module = {"__module__": f"{owner}.schemas"}
    line = type("LineInput", (Input,), module | {"title": Text(max_length=20, required=True)})
    body = type(
        "InvoiceInput",
        (Input,),
        module
        | {
            "number": Text(max_length=8, pattern="^[A-Z]-[0-9]+$", required=True),
            "status": fields.String(validate=validate.OneOf(["draft", "paid"])),
            "due_at": fields.Date(allow_none=True),
            "line": fields.Nested(line, required=True),
            "lines": fields.List(fields.Nested(line)),
        },
    )
    row = type("InvoiceOutput", (Output,), module | {"id": fields.UUID(required=True), "number": fields.String()})
    page = type("InvoicePageOutput", (Output,), module | {"items": fields.List(fields.Nested(row), required=True)})
    query = type(
        "InvoiceQuery",
        (PageQuery,),
        module | {"sort": fields.String(validate=validate.OneOf(["number", "-number"])), "q": Text(max_length=9)},
    )
    blueprint = Blueprint(
        owner, f"{owner}.routes", url_prefix=f"/api/v1/{owner.replace('_', '-')}", description=f"Invoices of {owner}"
    )
    named = {"name": f"{owner}_invoices", "title": "number", "columns": ("number",)} | resource

    @blueprint.route("")
    @blueprint.resource(named.pop("name"), **named)
    @blueprint.response(200, page)
    @blueprint.arguments(query, location="query")
    @requires("users:read")
    def list_invoices(query: dict[str, Any]) -> Any:
        """List the invoices."""
        return {"items": [], "query": query}

    @blueprint.route("", methods=["POST"])
    @blueprint.response(201, row)
    @blueprint.arguments(body)
    @requires("users:write")
    def create_invoice(body: dict[str, Any]) -> Any:
        """Make an invoice."""
        return body

    @blueprint.route("/<int:number>")
    @blueprint.response(200, row)
    @requires("users:read")
    def get_invoice(number: int) -> Any:
        """Get an invoice."""
        return {"number": number}

    @blueprint.route("/export.csv")
    @blueprint.response(200, {"type": "string"}, content_type="text/csv")
    @requires("users:read")
    def export_invoices() -> str:
        """Export the invoices."""
        return ""

    return blueprint


@pytest.fixture
def describe(make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Return the document of an application with more blueprints."""

    def get_document(*blueprints: Blueprint) -> dict[str, Any]:
        monkeypatch.setattr(package, "BLUEPRINTS", (*BLUEPRINTS, *blueprints))
        document: dict[str, Any] = make_app().test_client().get("/openapi.json").get_json()
        return document

    return get_document


def test_two_packages_may_call_their_operations_and_schemas_the_same(describe: Callable[..., dict[str, Any]]) -> None:
    document = describe(make_invoices("acme_invoices"), make_invoices("other"))
    validate_document(document)
    paths, schemas = document["paths"], document["components"]["schemas"]
    for owner, path in (("acme_invoices", "/api/v1/acme-invoices"), ("other", "/api/v1/other")):
        assert paths[path]["get"]["operationId"] == f"{owner}_list_invoices"
        assert paths[path]["get"]["tags"] == [owner]
        assert {"name": owner, "description": f"Invoices of {owner}"} in document["tags"]
        assert {f"{owner}.InvoiceInput", f"{owner}.InvoiceOutput", f"{owner}.LineInput"} <= schemas.keys()
        assert paths[path]["get"]["x-resource"] == {
            "name": f"{owner}_invoices",
            "key": "id",
            "title": "number",
            "columns": ["number"],
            "sort": ["number", "-number"],
            "search": "q",
            "operations": {
                "list": f"{owner}_list_invoices",
                "create": f"{owner}_create_invoice",
                "get": f"{owner}_get_invoice",
                "export": f"{owner}_export_invoices",
            },
        }


def test_a_field_that_no_table_knows_has_an_example_all_the_same(describe: Callable[..., dict[str, Any]]) -> None:
    document = describe(make_invoices("acme_invoices"))
    (example,) = document["components"]["schemas"]["acme_invoices.InvoiceInput"]["examples"]
    # "ok", which the status of /livez is, would be none of this one.
    assert example == {
        "number": "A-1",
        "status": "draft",
        "due_at": "2026-03-25",
        "line": {"title": "Example"},
        "lines": [{"title": "Example"}],
    }
    assert document["paths"]["/api/v1/acme-invoices/{number}"]["parameters"][0]["example"] == 1


def test_a_field_of_which_no_example_can_be_made_wants_one(describe: Callable[..., dict[str, Any]]) -> None:
    def add(field: fields.Field[Any]) -> Blueprint:
        blueprint = Blueprint("odd", "odd.routes", url_prefix="/api/v1/odd", description="Odd")
        schema = Input.from_dict({"code_word": field}, name="OddInput")

        @blueprint.route("", methods=["POST"])
        @blueprint.response(204)
        @blueprint.arguments(schema)
        @requires()
        def take(body: dict[str, Any]) -> Any:
            """Take a word."""
            return body

        return blueprint

    assert "components" in describe(add(Text(max_length=9, pattern="^~+$", metadata={"example": "~~"})))
    assert describe(add(Text(max_length=9, pattern="^~+$")))["code"] == "internal_error"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"columns": ("number", "colour")}, "colour"),
        ({"title": "label"}, "label"),
        ({"key": "slug"}, "slug"),
    ],
)
def test_a_resource_that_names_a_field_its_rows_lack_is_refused_at_once(change: dict[str, Any], named: str) -> None:
    with pytest.raises(LookupError, match=f"acme_invoices_invoices names {named}, which InvoiceOutput does not have"):
        make_invoices("acme_invoices", **change)


def test_a_resource_whose_list_is_sorted_by_a_field_its_rows_lack_is_refused() -> None:
    blueprint = Blueprint("odd", "odd.routes", description="Odd")
    query = PageQuery.from_dict({"sort": fields.String(validate=validate.OneOf(["-secret"]))})
    row = Output.from_dict({"id": fields.UUID(), "name": fields.String()})
    page = Output.from_dict({"items": fields.List(fields.Nested(row))})

    def declare(answer: Any) -> None:
        @blueprint.route("/odd")
        @blueprint.resource("odd", title="name", columns=("name",))
        @blueprint.response(200, answer)
        @blueprint.arguments(query, location="query")
        @requires()
        def list_odd(query: dict[str, Any]) -> Any:
            """List them."""
            return query

    with pytest.raises(LookupError, match="odd names secret"):
        declare(page)
    with pytest.raises(LookupError, match="odd belongs on a route that answers a list"):
        declare(row)


def test_two_blueprints_with_one_name_for_an_operation_or_a_resource_are_both_named(
    describe: Callable[..., dict[str, Any]],
) -> None:
    one, other = make_invoices("acme", name="bills"), make_invoices("zen", name="bills")
    with pytest.raises(LookupError, match="acme and zen both have the resource bills"):
        describe(one, other)

    ours = Blueprint("more", f"{package.__name__}.routes.more", url_prefix="/api/v1/more", description="More")

    @ours.route("")
    @ours.response(204)
    @requires()
    def list_users() -> None:
        """List them once more."""

    with pytest.raises(LookupError, match="user and more both have the operation list_users"):
        describe(ours)


def test_a_route_that_lets_owners_in_says_so_and_refuses_nobody_for_a_permission(
    describe: Callable[..., dict[str, Any]],
) -> None:
    blueprint = Blueprint("notes", "acme_notes.routes", url_prefix="/api/v1/notes", description="Notes")

    @blueprint.route("")
    @blueprint.response(204)
    @requires("users:read", or_own=Session)
    def list_notes(*, owner: uuid.UUID | None) -> None:
        """List the notes."""
        assert owner

    paths = describe(blueprint)["paths"]
    notes = paths["/api/v1/notes"]["get"]
    assert (notes["x-permissions"], notes["x-or-own"]) == (["users:read"], True)
    assert "Without the permission callers reach their own alone." in notes["description"]
    assert "permission_missing" not in str(notes["responses"]["403"])
    assert "x-or-own" not in paths["/api/v1/users"]["get"]


def test_an_extension_is_in_the_document_of_the_application_that_lists_it_and_in_no_other(
    environ: dict[str, str],
) -> None:
    extension = Extension(name="acme_invoices", version="1", face=1, blueprints=(make_invoices("acme_invoices"),))
    listing, other = (create_app(Settings.from_environ(environ), listed) for listed in ((extension,), ()))
    path = "/api/v1/acme-invoices"
    assert path in listing.test_client().get("/openapi.json").get_json()["paths"]
    assert path not in other.test_client().get("/openapi.json").get_json()["paths"]
    # Described once more, in an application of its own.
    again = create_app(Settings.from_environ(environ), (extension,)).test_client().get("/openapi.json").get_json()
    assert again["paths"][path]["get"]["operationId"] == "acme_invoices_list_invoices"
