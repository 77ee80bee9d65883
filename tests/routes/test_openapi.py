"""The OpenAPI document is valid, and the product does what it says: for a stranger, a user and an administrator."""

from __future__ import annotations

import collections
import re
import uuid
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from openapi_schema_validator import OAS31Validator, oas31_format_checker
from openapi_spec_validator import validate
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

from app import create_app
from app.config import Settings
from app.database import make_engine, parse_database_url, probe
from app.schemas import Input, RateLimitChangeInput
from app.schemas.examples import EXAMPLES, EXCEPTIONS
from app.security import PasswordHasher, find_guard
from app.utils import AppError, InvalidInput
from gatehouse.testing.databases import TEST_ENVIRON
from gatehouse.testing.factories import Browser, Factory
from gatehouse.testing.servers.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flask import Flask

    from gatehouse.testing.databases import Databases

METHODS = {"get", "post", "put", "patch", "delete"}

# What the pattern of a schema cannot say: an address that mail can be sent to, a password that is hard to guess.
schemathesis.openapi.format("email", st.from_regex(r"[a-z]{3,12}@[a-z]{3,12}\.example\.com", fullmatch=True))
words = ["turnip", "lantern", "gravel", "osprey", "marble", "anchor", "violet", "thimble", "harbor", "pickle"]
schemathesis.openapi.format("password", st.lists(st.sampled_from(words), min_size=5, unique=True).map("-".join))
LIMIT = r"[1-9][0-9]{0,8}( per |/)([1-9][0-9]? )?(second|minute|hour|day)s?"
schemathesis.openapi.format("rate-limits", st.from_regex(f"{LIMIT}(;{LIMIT}){{0,4}}", fullmatch=True))


# Refusals of what the schemas allow: no schema can say what they look at.
BEYOND_SCHEMAS = {"invalid_token", "invalid_cursor", "invalid_key", "unknown_role"}

# Refusals that would mean that somebody else asked, and that nothing but refusals was held against the document.
NEVER_TOLD = {
    "a stranger": {"csrf_failed"},
    "a user": {"csrf_failed", "not_signed_in"},
    "an administrator": {"csrf_failed", "not_signed_in", "permission_missing"},
}


class Caller:
    """Somebody who signs in again whenever a call has ended the session, or the account."""

    def __init__(self, app: Flask, make_user: Callable[[Factory], Any] | None) -> None:
        self._app = app
        self._make_user = make_user
        self._browser = Browser(app)

    def prepare_call(self) -> dict[str, dict[str, str]]:
        """Return what a call carries: the session's cookie and its CSRF token."""
        if self._make_user is not None and self._browser.get("/api/v1/users/me").status_code != 200:
            factory = Factory(self._app)
            self._browser = factory.sign_in(self._make_user(factory))
        token = self._browser.csrf_token()
        cookie = self._browser.client.get_cookie("session")
        assert cookie is not None
        # Not as a header: Werkzeug's client drops that, and everybody would be a stranger.
        return {"cookies": {"session": cookie.value}, "headers": {"X-CSRF-Token": token}}


# The document decides which tests there are, so the application has to exist when they are collected; its database
# comes with the first of them.
APP = create_app(Settings.from_environ(TEST_ENVIRON | {"DATABASE_URL": "sqlite:///nowhere/app.db"}))
schema = schemathesis.openapi.from_wsgi("/openapi.json", APP)
# Making the boundary cases takes a minute in each process; test_bad_input tries those of every field.
schema.config.phases.update(phases=["examples", "fuzzing"])
# The callers bring sessions that are real.
schema.config.generation.update(with_security_parameters=False)
thoroughly = settings(
    max_examples=15, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="module")
def app(databases: Databases) -> Iterator[Flask]:
    url = databases.take()
    engine = make_engine(parse_database_url(url))
    APP.extensions["database"].configure(bind=engine)
    # The first look may take longer than /readyz waits.
    wait_until(lambda: probe(engine) == "ok", within_seconds=10, what="the database")
    # Made again: cheap, as everywhere in the tests.
    APP.extensions["password_hasher"] = PasswordHasher(concurrency=4, capacity=64)
    yield APP
    engine.dispose()
    databases.put_back(url)


@pytest.fixture(scope="module")
def callers(app: Flask) -> dict[str, Caller]:
    return {
        "a stranger": Caller(app, None),
        "a user": Caller(app, lambda factory: factory.user()),
        "an administrator": Caller(app, lambda factory: factory.admin()),
    }


@schema.parametrize()
@thoroughly
def test_every_answer_is_as_documented_whoever_asks(case: Any, callers: dict[str, Caller]) -> None:
    # Making the cases takes longer than asking, so all three ask the same.
    for name, caller in callers.items():
        answer = case.call(**caller.prepare_call())
        code = answer.json()["code"] if answer.status_code >= 400 else None
        assert code not in NEVER_TOLD[name]
        # That check leaves our cookie on the call, and wonders; test_guards asks every route as a stranger.
        unfit = [ignored_auth, *([positive_data_acceptance] if code in BEYOND_SCHEMAS else [])]
        case.validate_response(answer, excluded_checks=unfit)


def test_the_document_is_valid_openapi() -> None:
    document = APP.test_client().get("/openapi.json").get_json()
    assert document["openapi"].startswith("3.1")
    validate(document)


def test_every_operation_has_a_name_of_its_own_a_summary_and_says_who_may_call_it() -> None:
    document = APP.test_client().get("/openapi.json").get_json()
    operations = [path[method] for path in document["paths"].values() for method in METHODS & path.keys()]
    names = collections.Counter(operation["operationId"] for operation in operations)
    assert [name for name, count in names.items() if count > 1] == []
    assert [operation["operationId"] for operation in operations if not operation.get("summary")] == []
    assert [operation["operationId"] for operation in operations if "security" not in operation] == []


def test_every_route_is_in_the_document() -> None:
    document = APP.test_client().get("/openapi.json").get_json()
    documented = sum(len(METHODS & path.keys()) for path in document["paths"].values())
    routed = [
        (rule.rule, method)
        for rule in APP.url_map.iter_rules()
        if rule.endpoint != "static"
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    ]
    assert documented == len(routed)


@pytest.mark.parametrize("text", ["5 per 15 minutes", "100/month", "10 PER minute", "9/2 hours, 30/day", "007/day"])
def test_the_document_refuses_no_limits_that_are_taken(text: str) -> None:
    components = APP.test_client().get("/openapi.json").get_json()["components"]
    change = {"limits": text, "roles": {"editor": text}}
    assert RateLimitChangeInput().load(change)
    OAS31Validator({"$ref": "#/components/schemas/RateLimitChangeInput", "components": components}).validate(change)


def test_what_not_being_ready_looks_like_is_in_the_document(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.routes.health.probe", lambda *_, **__: "away")
    client = APP.test_client()
    body, document = client.get("/readyz").get_json(), client.get("/openapi.json").get_json()
    assert body["checks"] == {"database": "away", "ratelimit": "ok", "mail": "degraded"}
    assert body.keys() <= document["components"]["schemas"]["ProblemOutput"]["properties"].keys()
    name = document["paths"]["/readyz"]["get"]["responses"]["503"]["$ref"].removeprefix("#/components/responses/")
    assert f"`{body['code']}`" in document["components"]["responses"][name]["description"]


def test_error_codes_are_unique_and_every_one_has_a_title_and_a_detail() -> None:
    errors = list_subclasses(AppError)
    codes = collections.Counter(error.code for error in errors if "code" in vars(error))
    assert [code for code, count in codes.items() if count > 1] == []
    assert [error.__name__ for error in errors if not (error.title and error.detail)] == []


def list_subclasses(root: type[Any]) -> list[type[Any]]:
    return [root, *(found for child in root.__subclasses__() for found in list_subclasses(child))]


def test_every_schema_has_an_example_that_it_allows_and_that_is_taken() -> None:
    document = APP.test_client().get("/openapi.json").get_json()
    components = document["components"]
    # Other tests make schemas of their own.
    inputs = {each.__name__: each for each in list_subclasses(Input) if each.__module__.startswith("app.schemas")}
    for name, schema in components["schemas"].items():
        (example,) = schema["examples"]
        optional = {field for field, about in schema["properties"].items() if "$ref" in about}
        assert schema["properties"].keys() - optional <= example.keys()
        rule = {"$ref": f"#/components/schemas/{name}", "components": components}
        OAS31Validator(rule, format_checker=oas31_format_checker).validate(example)
        if name.endswith("Input"):
            with APP.app_context():
                assert inputs[name]().load(example)
    for response in components["responses"].values():
        problem = response["content"]["application/problem+json"]["example"]
        rule = {"$ref": "#/components/schemas/ProblemOutput", "components": components}
        OAS31Validator(rule).validate(problem)
        assert f"`{problem['code']}`: " in response["description"]


def test_examples_are_what_the_product_makes() -> None:
    ids = [value for value in EXAMPLES.values() if isinstance(value, str) and re.fullmatch(r"[0-9a-f-]{36}", value)]
    assert {uuid.UUID(value).version for value in ids} == {7}
    assert EXCEPTIONS["ProblemOutput"]["code"] == InvalidInput.code
    assert EXCEPTIONS["ProblemOutput"]["title"] == InvalidInput.title
    instants = [value for field, value in EXAMPLES.items() if field.endswith("_at")]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", value) for value in instants)


def test_parameters_have_examples_and_the_queries_start_empty() -> None:
    document = APP.test_client().get("/openapi.json").get_json()
    for path in document["paths"].values():
        for parameter in path.get("parameters", []):
            OAS31Validator(parameter["schema"], format_checker=oas31_format_checker).validate(parameter["example"])
        for parameter in path.get("get", {}).get("parameters", []):
            (example,) = parameter["schema"]["examples"]
            OAS31Validator(parameter["schema"], format_checker=oas31_format_checker).validate(example)
            assert "example" not in parameter


def test_what_several_operations_answer_is_said_once() -> None:
    document = APP.test_client().get("/openapi.json").get_json()
    operations = [path[method] for path in document["paths"].values() for method in METHODS & path.keys()]
    errors = [answer for operation in operations for status, answer in operation["responses"].items() if status >= "4"]
    assert len(errors) > 200
    assert all(error.keys() == {"$ref"} for error in errors)
    assert document["components"]["schemas"].keys().isdisjoint({"Error", "PaginationMetadata"})


# --- what programs read ---


def test_a_program_can_tell_what_anybody_the_signed_in_and_only_some_may_call() -> None:
    document = APP.test_client().get("/openapi.json").get_json()
    for path, item in document["paths"].items():
        for method in METHODS & item.keys():
            operation, view = item[method], find_view(path, method)
            guard = find_guard(view)
            assert guard is not None
            assert ("x-permissions" in operation) == ("x-fresh" in operation) == bool(operation["security"])
            assert operation.get("x-permissions") == (None if guard.is_public else sorted(guard.permissions)), path
            assert operation.get("x-fresh", False) == guard.is_fresh
    paths = document["paths"]
    assert paths["/api/v1/users"]["post"]["x-permissions"] == ["users:write"]
    assert (paths["/api/v1/users/me"]["delete"]["x-permissions"], paths["/api/v1/users/me"]["delete"]["x-fresh"]) == (
        [],
        True,
    )
    assert "x-permissions" not in paths["/api/v1/auth/login"]["post"]
    assert all(word in document["info"]["description"] for word in ("x-permissions", "x-or-own", "x-fresh"))


def find_view(path: str, method: str) -> Any:
    """Return the view that answers an operation of the document."""
    rule = next(
        rule
        for rule in APP.url_map.iter_rules()
        if re.sub(r"<(\w+:)?(\w+)>", r"{\2}", rule.rule) == path and method.upper() in (rule.methods or ())
    )
    return APP.view_functions[rule.endpoint]


def test_lists_say_what_their_rows_are_and_what_can_be_done_with_them() -> None:
    document = APP.test_client().get("/openapi.json").get_json()
    resources = {
        item["get"]["x-resource"]["name"]: item["get"]["x-resource"]
        for item in document["paths"].values()
        if "x-resource" in item.get("get", {})
    }
    assert resources.keys() >= {"users", "user_sessions", "own_sessions", "roles", "audit", "ratelimits"}
    assert resources["users"] == {
        "name": "users",
        "key": "id",
        "title": "email",
        "columns": ["email", "name", "roles", "is_active", "last_login_at"],
        "sort": ["-created_at", "-email", "-name", "created_at", "email", "name"],
        "search": "q",
        "operations": {
            "list": "list_users",
            "create": "create_user",
            "get": "get_user",
            "change": "update_user",
            "delete": "delete_user",
        },
    }
    assert resources["own_sessions"]["operations"] == {"list": "list_my_sessions", "delete": "end_my_session"}
    # A limit is reset, never deleted.
    assert resources["ratelimits"]["operations"] == {"list": "list_rate_limits", "change": "change_rate_limit"}
    assert (resources["audit"]["search"], resources["audit"]["sort"]) == (None, [])
