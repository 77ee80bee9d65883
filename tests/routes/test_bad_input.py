"""Bad input to every endpoint, for every field: a clear refusal that names the field, and nothing stored."""

from __future__ import annotations

import gzip
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from app.extensions import db
from app.http.bodies import MAX_BODY_BYTES, MAX_DEPTH
from app.models import NAME_MAX_LENGTH, Base
from tests.factories import PASSWORD, Browser, Factory

if TYPE_CHECKING:
    from flask import Flask
    from werkzeug.test import TestResponse

VALID: dict[str, tuple[str, dict[str, Any]]] = {
    "POST /api/v1/auth/register": (
        "/api/v1/auth/register",
        {"email": "new@example.com", "password": PASSWORD, "name": "New"},
    ),
    "POST /api/v1/auth/login": (
        "/api/v1/auth/login",
        {"email": "nobody@example.com", "password": PASSWORD, "remember": True},
    ),
    "POST /api/v1/auth/reauthenticate": ("/api/v1/auth/reauthenticate", {"password": PASSWORD}),
    "POST /api/v1/auth/password/change": (
        "/api/v1/auth/password/change",
        {"current_password": PASSWORD, "new_password": f"{PASSWORD} heron"},
    ),
    "PATCH /api/v1/users/me": ("/api/v1/users/me", {"name": "Other"}),
    "POST /api/v1/users": ("/api/v1/users", {"email": "new@example.com", "password": PASSWORD, "name": "New"}),
    "PATCH /api/v1/users/{user_id}": ("/api/v1/users/{user}", {"name": "Other", "is_active": True}),
    "POST /api/v1/roles": ("/api/v1/roles", {"name": "new", "description": "", "permissions": []}),
    "PATCH /api/v1/ratelimits/{name}": ("/api/v1/ratelimits/login", {"limits": "5/minute", "roles": {"user": None}}),
    "POST /api/v1/ratelimits/clear": ("/api/v1/ratelimits/clear", {"key": "address:192.0.2.1"}),
    "PATCH /api/v1/roles/{name}": ("/api/v1/roles/{role}", {"description": "other", "permissions": []}),
}
OPTIONAL = {"name", "remember", "description", "permissions", "is_active", "limits", "roles"}
NEEDED_NOWHERE = {("POST /api/v1/users", "password")}

# A value that no field takes, by what is wrong with it.
WRONG_VALUES: dict[str, Any] = {
    "an object": {"a": 1},
    "a number": 1,
    "null": None,
    "an integer of 80 bits": 2**80,
    "far too long": "a" * 5000,
    "NUL": "a\0b",
    "half of a surrogate pair": "a\ud800b",
    "an escape sequence": "a\x1b[31m",
    "two lines": "a\nb",
    "a list of objects": [{"a": 1}],
}
WRONG_BODIES: dict[str, tuple[bytes, dict[str, str], int]] = {
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


@pytest.fixture(scope="module")
def place(make_shared_app: Any) -> Place:
    return Place(make_shared_app())


class Place:
    """One application for all cases: none of them may change anything."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        factory = Factory(app)
        self.admin: Browser = factory.sign_in(factory.admin())
        self.names = {"user": str(factory.user().id), "role": factory.role().name}

    def send(self, operation: str, data: bytes, headers: dict[str, str] | None = None) -> TestResponse:
        """Send ``data`` to the operation as an administrator."""
        method = operation.split(maxsplit=1)[0]
        path = VALID[operation][0].format(**self.names)
        return self.admin.send(method, path, data=data, headers={"Content-Type": "application/json"} | (headers or {}))

    def take_stock(self) -> dict[str, list[Any]]:
        """Return every row of every table that a caller can change."""
        with self.app.app_context():
            tables = [table for table in Base.metadata.sorted_tables if table.name != "audit_entries"]
            return {table.name: [tuple(row) for row in db.session.execute(sa.select(table))] for table in tables}


def assert_refused(response: TestResponse, status: int, *, field: str | None = None) -> None:
    body = response.get_json()
    assert (response.status_code, response.content_type) == (status, "application/problem+json"), body
    assert body["status"] == status
    assert body["code"]
    if field is not None:
        assert any(name.split(".")[0] == field for name in body["errors"]), body


def test_every_operation_that_takes_a_body_is_tried(place: Place) -> None:
    document = place.app.test_client().get("/openapi.json").get_json()
    taking = {
        f"{method.upper()} {path}"
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if isinstance(operation, dict) and "requestBody" in operation
    }
    assert taking == VALID.keys()
    for operation in taking:
        method, path = operation.split()
        reference = document["paths"][path][method.lower()]["requestBody"]["content"]["application/json"]["schema"]
        fields = document["components"]["schemas"][reference["$ref"].rpartition("/")[2]]["properties"]
        assert fields.keys() == VALID[operation][1].keys()


@pytest.mark.parametrize("operation", VALID)
def test_a_wrong_value_is_refused_by_the_name_of_its_field(place: Place, operation: str) -> None:
    before = place.take_stock()
    for field, good in VALID[operation][1].items():
        for what, value in {**WRONG_VALUES, "another type": "yes" if isinstance(good, bool) else True}.items():
            if operation == "POST /api/v1/users" and field == "password" and value is None:
                continue  # an account that nobody can sign in to yet
            body = VALID[operation][1] | {field: value}
            response = place.send(operation, json.dumps(body).encode())
            assert response.status_code == 422, f"{field}: {what}: {response.text}"
            assert_refused(response, 422, field=field)
    assert place.take_stock() == before


@pytest.mark.parametrize("operation", VALID)
def test_a_missing_field_is_refused_by_its_name(place: Place, operation: str) -> None:
    before = place.take_stock()
    for field in VALID[operation][1].keys() - OPTIONAL:
        if (operation, field) in NEEDED_NOWHERE:
            continue
        body = {name: value for name, value in VALID[operation][1].items() if name != field}
        assert_refused(place.send(operation, json.dumps(body).encode()), 422, field=field)
        assert_refused(place.send(operation, json.dumps(body | {field: ""}).encode()), 422, field=field)
    assert place.take_stock() == before


@pytest.mark.parametrize("operation", VALID)
def test_an_unknown_field_is_refused_and_so_is_one_that_is_not_the_callers_to_set(place: Place, operation: str) -> None:
    before = place.take_stock()
    for field in ("id", "roles", "role", "email_verified_at", "password_hash", "__class__", "x\ud800"):
        body = VALID[operation][1] | {field: "admin"}
        assert_refused(place.send(operation, json.dumps(body).encode()), 422, field=field)
    assert place.take_stock() == before


@pytest.mark.parametrize("operation", VALID)
def test_a_body_that_is_no_plain_json_object_is_refused(place: Place, operation: str) -> None:
    before = place.take_stock()
    for what, (data, headers, status) in WRONG_BODIES.items():
        response = place.send(operation, data, headers)
        assert response.status_code == status, f"{what}: {response.text}"
        assert_refused(response, status)
    assert place.take_stock() == before


@pytest.mark.parametrize("path", ["/api/v1/users", "/api/v1/audit"])
@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=1.5", "limit"),
        (f"limit={2**80}", "limit"),
        ("limit=", "limit"),
        ("limit=1&limit=2", "limit"),
        ("cursor=x", "cursor"),
        ("cursor=%00", "cursor"),
        ("cursor=" + "a" * 3000, "cursor"),
        ("cursor=W10", "cursor"),
        ("cursor=bnVsbA", "cursor"),
        ("unknown=1", "unknown"),
        ("password_hash=x", "password_hash"),
    ],
)
def test_a_wrong_query_is_refused_by_the_name_of_its_parameter(place: Place, path: str, query: str, field: str) -> None:
    assert_refused(place.admin.get(f"{path}?{query}"), 422, field=field)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("users?sort=password_hash", "sort"),
        ("users?is_active=perhaps", "is_active"),
        ("users?q=%00", "q"),
        ("users?role=%00", "role"),
        ("audit?actor=me", "actor"),
        ("audit?target=%0a", "target"),
        ("audit?action=%00", "action"),
        ("audit?since=yesterday", "since"),
        ("audit?since=2026-01-01T00:00:00", "since"),
        ("audit?until=0001-01-01T00:00:00%2B23:00", "until"),
    ],
)
def test_a_wrong_filter_is_refused_by_its_name(place: Place, query: str, field: str) -> None:
    assert_refused(place.admin.get(f"/api/v1/{query}"), 422, field=field)


@pytest.mark.parametrize(("route", "field"), [("login", "email"), ("register", "email"), ("register", "name")])
def test_many_marks_on_one_letter_cost_no_time(browser: Browser, route: str, field: str) -> None:
    path, body = VALID[f"POST /api/v1/auth/{route}"]
    marks = "a" + "\u0301\u0327" * 15_000  # Unicode sorts them, in the square of their number
    data = json.dumps(body | {field: f"{marks}@example.com"}, ensure_ascii=False).encode()
    headers = {"X-CSRF-Token": browser.csrf_token()}
    started_at = time.process_time()
    response = browser.client.post(path, data=data, content_type="application/json", headers=headers)
    assert time.process_time() - started_at < 0.5
    assert list(response.get_json()["errors"]) == [field]


def test_a_decomposed_text_is_as_long_as_its_composed_form(browser: Browser) -> None:
    path, body = VALID["POST /api/v1/auth/register"]
    name = "\u03b1\u0313\u0300\u0345" * NAME_MAX_LENGTH
    assert browser.post(path, body | {"name": name}).status_code == 201
