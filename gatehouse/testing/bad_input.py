"""Bad input to an operation, made from the OpenAPI document: a clear refusal that names the field, nothing stored."""

import dataclasses
import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias
from urllib.parse import quote, urlencode

import sqlalchemy as sa
from flask import Flask
from werkzeug.test import TestResponse

from app.extensions import db
from app.http.bodies import MAX_BODY_BYTES, MAX_DEPTH
from app.http.json_schema import resolve_schema
from app.models import Base

from .wrong_values import list_wrong_texts, list_wrong_values

Send: TypeAlias = Callable[..., TestResponse]
"""Sends a call as somebody who may make it: ``send(method, path, data=…, headers=…)``."""

_METHODS: Final = ("get", "post", "put", "patch", "delete")
_JSON: Final = "application/json"
_UNKNOWN_FIELDS: Final = ("id", "roles", "role", "email_verified_at", "password_hash", "__class__", "x\ud800")
_UNKNOWN_PARAMETERS: Final = ("unknown", "password_hash")
# What is wrong with a body, whatever operation it is for, and the answer's status.
_WRONG_BODIES: Final[Mapping[str, tuple[bytes, Mapping[str, str], int]]] = MappingProxyType(
    {
        "nothing": (b"", {}, 400),
        "no JSON": (b"{", {}, 400),
        "NaN": (b'{"name": NaN}', {}, 400),
        "a key given twice": (b'{"name": "a", "name": "b"}', {}, 400),
        "nesting beyond the limit": (b'{"name": ' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}", {}, 400),
        "nesting beyond all measure": (b"[" * 30_000 + b"]" * 30_000, {}, 400),
        "UTF-16": ('{"name": "a"}'.encode("utf-16"), {}, 400),
        "a byte order mark": (b"\xef\xbb\xbf{}", {}, 400),
        "broken UTF-8": (b'{"name": "\xff"}', {}, 400),
        "a number of 5,000 digits": (b'{"name": ' + b"9" * 5000 + b"}", {}, 400),
        "an array": (b"[]", {}, 422),
        "a string": (b'"text"', {}, 422),
        "a form": (b"name=a", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        "JSON that says it is text": (b"{}", {"Content-Type": "text/plain"}, 415),
        "another charset": (b"{}", {"Content-Type": "application/json; charset=utf-16"}, 415),
        "a compressed body": (gzip.compress(b"{}"), {"Content-Encoding": "gzip"}, 415),
        "too large a body": (b'{"name": "' + b"a" * MAX_BODY_BYTES + b'"}', {}, 413),
    }
)
_WRONG_NUMBERS: Final = ("1.5", "", str(2**80), "\u0661")
_WRONG_CURSORS: Final = ("x", "\0", "a" * 3000, "W10", "bnVsbA")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Operation:
    """An operation of the document, with a call that it takes."""

    method: str
    template: str
    path: str
    """``template`` with its parameters filled in."""
    body: Mapping[str, Any] | None
    """A body with all its fields, or None if it takes none."""
    fields: Mapping[str, dict[str, Any]]
    required: frozenset[str]
    query: Mapping[str, dict[str, Any]]
    schemas: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.method} {self.template}"


def list_operations(document: dict[str, Any], values: Mapping[str, str] | None = None) -> Iterator[Operation]:
    """Yield each operation of the document that takes a JSON body or a query.

    The parameters of paths are the document's examples, or those of ``values``.
    """
    schemas = document["components"]["schemas"]
    for template, item in document["paths"].items():
        for method in _METHODS:
            if method not in item:
                continue
            parameters = [*item.get("parameters", ()), *item[method].get("parameters", ())]
            path = template
            for each in parameters:
                if each["in"] == "path":
                    value = (values or {}).get(each["name"], str(each["example"]))
                    path = path.replace(f"{{{each['name']}}}", quote(value, safe=""))
            schema = item[method].get("requestBody", {}).get("content", {}).get(_JSON, {}).get("schema")
            described = resolve_schema(schema, schemas) if schema else {}
            query = {each["name"]: each["schema"] for each in parameters if each["in"] == "query"}
            if schema or query:
                yield Operation(
                    method=method.upper(),
                    template=template,
                    path=path,
                    body=described["examples"][0] if schema else None,
                    fields=described.get("properties", {}),
                    required=frozenset(described.get("required", ())),
                    query=query,
                    schemas=schemas,
                )


def assert_refuses_bad_input(app: Flask, operation: Operation, send: Send) -> None:
    """Make sure that the operation refuses whatever is wrong, by the name of the field, and stores nothing."""
    before = take_stock(app)
    if operation.body is not None:
        assert_refuses_wrong_values(operation, send)
        assert_refuses_missing_fields(operation, send)
        assert_refuses_unknown_fields(operation, send)
        assert_refuses_wrong_bodies(operation, send)
    assert_refuses_wrong_queries(operation, send)
    assert take_stock(app) == before, f"{operation} stored something that it refused"


def assert_refuses_wrong_values(operation: Operation, send: Send) -> None:
    """Make sure that each field refuses what the document says it does not take, and what no field may take."""
    assert operation.body is not None, f"{operation} takes no body"
    # What only some calls take may be left out of the example, which is meant to be sent as it is.
    lacking = operation.required - operation.body.keys()
    assert not lacking, f"{operation}: the example of its body lacks {', '.join(sorted(lacking))}"
    for field, about in operation.fields.items():
        for what, value in list_wrong_values(about, operation.schemas, operation.body.get(field, "Example")):
            _assert_body_is_refused(operation, send, {field: value}, field=field, what=what)


def assert_refuses_missing_fields(operation: Operation, send: Send) -> None:
    """Make sure that no required field may be left out, or be empty."""
    assert operation.body is not None, f"{operation} takes no body"
    for field in operation.required:
        data = json.dumps({name: value for name, value in operation.body.items() if name != field}).encode()
        _assert_refused(_send_body(operation, send, data), 422, f"{operation} without {field}", field=field)
        _assert_body_is_refused(operation, send, {field: ""}, field=field, what="empty, though required")


def assert_refuses_unknown_fields(operation: Operation, send: Send) -> None:
    """Make sure that what the document does not name is refused, and so is what is not the caller's to set."""
    for field in _UNKNOWN_FIELDS:
        if field not in operation.fields:
            _assert_body_is_refused(operation, send, {field: "admin"}, field=field, what="unknown")


def assert_refuses_wrong_bodies(operation: Operation, send: Send) -> None:
    """Make sure that a body is refused that is no plain JSON object."""
    for what, (data, headers, status) in _WRONG_BODIES.items():
        response = _send_body(operation, send, data, headers)
        _assert_refused(response, status, f"{operation} with a body that is {what}")


def assert_refuses_wrong_queries(operation: Operation, send: Send) -> None:
    """Make sure that each parameter refuses what the document says it does not take, and that there are no others."""
    for name, about in operation.query.items():
        for value in _list_wrong_parameters(name, resolve_schema(about, operation.schemas)):
            _assert_query_is_refused(operation, send, [(name, value)], field=name)
        example = about["examples"][0]
        text = str(example).lower() if isinstance(example, bool) else str(example)
        _assert_query_is_refused(operation, send, [(name, text), (name, text)], field=name)
    if operation.query:
        for name in _UNKNOWN_PARAMETERS:
            if name not in operation.query:
                _assert_query_is_refused(operation, send, [(name, "x")], field=name)


def take_stock(app: Flask) -> dict[str, list[Any]]:
    """Return every row of every table, but for the audit trail and when sessions were last seen."""
    with app.app_context():
        present = set(sa.inspect(db.engine).get_table_names()) - {"audit_entries"}
        queries = {
            table.name: sa.select(*(column for column in table.columns if column.name != "last_seen_at"))
            for table in Base.metadata.sorted_tables
            if table.name in present
        }
        return {name: sorted(map(repr, db.session.execute(query))) for name, query in queries.items()}


def _list_wrong_parameters(name: str, described: Mapping[str, Any]) -> Iterator[str]:
    if name == "cursor":
        yield from _WRONG_CURSORS
    elif described.get("type") == ["integer"]:
        yield from _WRONG_NUMBERS
        if "minimum" in described:
            yield str(described["minimum"] - 1)
        if "maximum" in described:
            yield str(described["maximum"] + 1)
    elif described.get("type") == ["boolean"]:
        yield from ("perhaps", "")
    else:
        yield "\0"
        if "maxLength" in described or {"format", "enum"} & described.keys():
            yield from (text for _, text in list_wrong_texts(described))
        if "enum" in described:
            yield "password_hash"


def _assert_body_is_refused(
    operation: Operation, send: Send, change: Mapping[str, Any], *, field: str, what: str
) -> None:
    response = _send_body(operation, send, json.dumps({**(operation.body or {}), **change}).encode())
    _assert_refused(response, 422, f"{operation} with {field} that is wrong ({what})", field=field)


def _send_body(operation: Operation, send: Send, data: bytes, headers: Mapping[str, str] | None = None) -> TestResponse:
    headers = {"Content-Type": _JSON} | dict(headers or {})
    return send(operation.method, operation.path, data=data, headers=headers)


def _assert_query_is_refused(operation: Operation, send: Send, query: list[tuple[str, str]], *, field: str) -> None:
    response = send(operation.method, f"{operation.path}?{urlencode(query)}")
    _assert_refused(response, 422, f"{operation} with the query {query!r:.200}", field=field)


def _assert_refused(response: TestResponse, status: int, call: str, *, field: str | None = None) -> None:
    assert response.status_code == status, f"{call} was answered {response.status_code}: {response.text:.500}"
    assert response.content_type == "application/problem+json", f"{call} was answered with {response.content_type}"
    problem = response.get_json()
    assert problem["status"] == status, f"{call}: {problem}"
    assert problem["code"], f"{call}: {problem}"
    texts, codes = (problem.get(member, {}) for member in ("errors", "error_codes"))
    assert {name: len(each) for name, each in texts.items()} == {name: len(each) for name, each in codes.items()}, (
        f"{call}: as many codes as messages are expected: {problem}"
    )
    assert all(coded["code"] for each in codes.values() for coded in each), f"{call}: {problem}"
    if field is not None:
        named = {name.split(".")[0] for name in problem["errors"]}
        assert named == {field}, f"{call} was refused for {', '.join(sorted(named))}"
