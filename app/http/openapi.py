"""The OpenAPI document: made from the schemas, the guards and the errors that each route declares."""

import collections
import functools
import http
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

import flask_smorest
from apispec.ext.marshmallow import MarshmallowPlugin
from flask import Flask, Response

from app.extensions import get_extensions, get_settings
from app.schemas import (
    MailSignInProofInput,
    Output,
    OwnUserOutput,
    ProblemOutput,
    ReauthenticateInput,
    RegisterInput,
    UserOutput,
)
from app.schemas.values import Text
from app.security import FRESH_SECONDS, Guard, find_guard
from app.services.sign_in_methods import PASSWORD
from app.utils import PROBLEM_CONTENT_TYPE, AppError

from .bodies import StrictParser
from .csv_files import CSV_CONTENT_TYPE
from .document import finish_document
from .resources import KEY, Resource, declare_resource, describe_resource, find_resource

View = TypeVar("View", bound="Callable[..., Any]")

OPENAPI_VERSION: Final = "3.1.0"
_DESCRIPTION: Final = """\
Accounts, roles, sessions and rate limits.

- **Signing in** sets a session cookie. With it, calls that change something need the token of `GET /api/v1/auth/csrf`
  in the header `X-CSRF-Token`; signing in and registering need one too, and signing in brings a new one.
- **Errors** are `application/problem+json` (RFC 9457) with a stable `code` for programs and a `detail` for people.
- **Lists** come in pages: pass `next_cursor` as `cursor` for the next one.
- **Who may call** an operation: without `x-permissions` anybody; with an empty list whoever is signed in; otherwise
  whoever holds all of them. With `x-or-own` whoever is signed in may call it too, and reaches their own alone. With
  `x-fresh` the password must have been given within the last ten minutes.
- **Resources**: a list with `x-resource` says what its rows are called, which of their fields are `key`, `title` and
  `columns`, the orders of `sort`, the parameter that searches, and the `operationId` of what can be done with them.
- **Every answer** carries `X-Request-ID`, which names the request in the server's log.
"""
_to_json: Final = json.JSONEncoder(separators=(",", ":")).encode
_RAISES: Final = "_gatehouse_raises"
_CHANGING: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_ALWAYS: Final = {
    400: ("unknown_host",),
    429: ("rate_limited",),
    500: ("internal_error",),
    503: ("database_unavailable", "database_file_gone", "outcome_unknown", "unavailable"),
}
# Made once: one for each answer of each route took most of the start.
_PROBLEM: Final = ProblemOutput()
_CSRF_PARAMETER: Final = {
    "in": "header",
    "name": "X-CSRF-Token",
    "description": "The token of GET /api/v1/auth/csrf; needed wherever the session cookie rides along.",
    "schema": {"type": "string"},
    "required": False,
}
_REQUEST_ID_HEADER: Final = {
    "description": "Names this request in the server's log; a well-formed one from the caller is kept.",
    "schema": {"type": "string"},
    "required": True,
}


class Blueprint(flask_smorest.Blueprint):  # type: ignore[misc] # Flask-Smorest ships no types
    """A group of routes that documents itself: guard, body, query and declared errors included.

    ``tag`` is its name in the OpenAPI document, if that is not the blueprint's.
    """

    ARGUMENTS_PARSER = StrictParser()

    def __init__(self, name: str, import_name: str, *, tag: str = "", **options: Any) -> None:
        super().__init__(name, import_name, **options)
        self.tag = tag or name

    # Flask-Smorest ships no types for its decorators.
    route: Callable[..., Callable[[View], View]]
    arguments: Callable[..., Callable[[View], View]]
    alt_response: Callable[..., Callable[[View], View]]

    def response(self, status_code: int, schema: Any = None, **options: Any) -> Callable[[View], View]:
        """Dump what the view returns through ``schema`` and answer ``status_code``."""
        describe: Callable[[View], View] = super().response(status_code, schema, **options)
        dump = schema().dump if isinstance(schema, type) else None

        def decorate(view: View) -> View:
            @functools.wraps(describe(view))
            def answer(*args: Any, **kwargs: Any) -> Response:
                result = view(*args, **kwargs)
                if dump is None or isinstance(result, Response):
                    return result  # type: ignore[no-any-return] # without a schema the view answers by itself
                return Response(_to_json(dump(result)) + "\n", status_code, mimetype="application/json")

            return answer  # type: ignore[return-value] # with the view's own parameters

        return decorate

    def csv(self, schema: type[Output]) -> Callable[[View], View]:
        """Document that the view answers with a CSV file, made by ``answer_csv`` with the same ``schema``."""
        description = f"A line for each row, in the columns {', '.join(schema().dump_fields)}."
        return self.response(200, {"type": "string"}, content_type=CSV_CONTENT_TYPE, description=description)

    def raises(self, *errors: type[AppError]) -> Callable[[View], View]:
        """Document that the view may answer with ``errors``."""

        def decorate(view: View) -> View:
            setattr(view, _RAISES, (*getattr(view, _RAISES, ()), *errors))
            return view

        return decorate

    def resource(self, name: str, *, columns: Sequence[str], title: str, key: str = "id") -> Callable[[View], View]:
        """Describe what the list route answers, so that a console can show it; a field that its rows lack is refused.

        ``columns``, ``title`` and ``key`` are fields of the rows; the path of one row ends with its key. What can be
        done with the rows is found by the paths.
        """
        return declare_resource(Resource(name, tuple(columns), title, key))

    def _store_endpoint_docs(self, endpoint: str, obj: Any, parameters: Any, tags: Any, **options: Any) -> None:
        super()._store_endpoint_docs(endpoint, obj, parameters, tags or [self.tag], **options)
        for method in self.HTTP_METHODS:
            doc = self._docs[endpoint].get(method.lower())
            if doc is not None:
                self._document_resource(doc, obj)
                self._document_errors(doc, obj, method=method)

    def _document_resource(self, doc: dict[str, Any], view: Any) -> None:
        manual = doc.setdefault("manual_doc", {})
        manual["operationId"] = view.__name__ if _is_ours(self.import_name) else f"{self.name}_{view.__name__}"
        resource = find_resource(view)
        if resource is not None:
            answer = next((each[0].get("schema") for each in doc["response"]["responses"].values()), None)
            parameters = doc.get("arguments", {}).get("parameters", ())
            query = next((each["schema"] for each in parameters if each["in"] == "query"), None)
            manual[KEY] = describe_resource(resource, answer, query)

    @staticmethod
    def _document_errors(doc: dict[str, Any], view: Any, *, method: str) -> None:
        arguments = doc.get("arguments", {})
        arguments.pop("responses", None)
        locations = {parameter["in"] for parameter in arguments.get("parameters", ())}
        responses = doc.setdefault("response", {}).setdefault("responses", {})
        for status, words in _list_codes(view, method=method, locations=locations).items():
            responses[status] = [_describe_problem(status, words)]
        if method in _CHANGING:
            doc.setdefault("arguments", {}).setdefault("parameters", []).append(_CSRF_PARAMETER)
        for described in responses.values():
            described[0].setdefault("headers", {})["X-Request-ID"] = _REQUEST_ID_HEADER
        guard = find_guard(view)
        doc["manual_doc"] |= _describe_guard_to_programs(guard)
        docstring = doc.setdefault("docstring", {})
        docstring["description"] = "\n\n".join(filter(None, [docstring.get("description"), _describe_guard(guard)]))


def list_names(blueprint: Blueprint) -> Iterator[tuple[str, str]]:
    """Yield what the operations and resources of ``blueprint`` are called, each with its kind."""
    for docs in blueprint._docs.values():  # noqa: SLF001 - where Flask-Smorest keeps them
        for doc in (doc["manual_doc"] for method, doc in docs.items() if method != "parameters"):
            yield "operation", doc["operationId"]
            if KEY in doc:
                yield "resource", doc[KEY]["name"]


def _is_ours(module: str) -> bool:
    """Say whether a module is the product's, under whichever name it is installed."""
    return module.startswith(f"{__name__.removesuffix('.http.openapi')}.")


def _name_schema(schema: Any) -> str:
    """Return a schema's name in the document; those of others have their package's before it."""
    made = schema if isinstance(schema, type) else type(schema)
    return made.__name__ if _is_ours(made.__module__) else f"{made.__module__.partition('.')[0]}.{made.__name__}"


def _describe_keys(converter: Any, field: Any, **_: object) -> dict[str, Any]:
    """Say of a field that is a mapping what its keys are; the library says it of the values only."""
    keys = getattr(field, "key_field", None)
    return {"propertyNames": converter.field2property(keys)} if isinstance(keys, Text) else {}


def _describe_guard_to_programs(guard: Guard | None) -> dict[str, Any]:
    if guard is None or guard.is_public:
        return {"security": []}
    described: dict[str, Any] = {
        "security": [{"session": []}],
        "x-permissions": sorted(guard.permissions),
        "x-fresh": guard.is_fresh,
    }
    return described | ({"x-or-own": True} if guard.or_own is not None else {})


def _describe_guard(guard: Guard | None) -> str:
    """Return a sentence on what a caller needs."""
    if guard is None or guard.is_public:
        return "Anybody may call this."
    needs = [f"the permission `{name}`" for name in sorted(guard.permissions)] or ["a session"]
    if guard.is_fresh:
        needs.append(f"the password, given within the last {FRESH_SECONDS // 60} minutes")
    own = "" if guard.or_own is None else " Without the permission callers reach their own alone."
    return f"Needs {' and '.join(needs)}.{own}"


def _check_error_codes(app: Flask) -> None:
    """Make sure that each code means one thing in ``app``: among its views' errors, and beside the product's own.

    Raises:
        LookupError: naming the two errors that have the same code.
    """
    owners: dict[str, type[AppError]] = {error.code: error for error in _list_own_errors(AppError)}
    for view in app.view_functions.values():
        for raised in getattr(view, _RAISES, ()):
            # Of one that is only a case of another, that.
            error = next(each for each in raised.__mro__ if "code" in vars(each))
            owner = owners.setdefault(error.code, error)
            if owner is not error:
                names = " and ".join(sorted(f"{each.__module__}.{each.__qualname__}" for each in (owner, error)))
                raise LookupError(f"{names} both have the code {error.code}: rename one of them, or give it a `code`")


def _list_own_errors(error: type[AppError]) -> Iterator[type[AppError]]:
    """Yield the product's errors that have codes of their own."""
    for each in error.__subclasses__():
        if _is_ours(each.__module__):
            if "code" in vars(each):
                yield each
            yield from _list_own_errors(each)


def _list_codes(view: Any, *, method: str, locations: set[str]) -> dict[int, set[str]]:
    """Return the codes of every error that ``view`` may answer with, by their status."""
    codes = collections.defaultdict(set, {status: set(words) for status, words in _ALWAYS.items()})
    guard = find_guard(view)
    if guard is not None and not guard.is_public:
        codes[401].add("not_signed_in")
        if not guard.is_before_password_change:
            codes[403].add("password_change_required")
        if guard.permissions and guard.or_own is None:
            codes[403].add("permission_missing")
        if guard.is_fresh:
            codes[403].add("reauthentication_required")
    if method in _CHANGING:
        codes[403].add("csrf_failed")
        codes[409].add("reference_refused")
    if locations:
        codes[422].add("invalid_input")
    if "json" in locations:
        codes[400].add("malformed_body")
        codes[413].add("body_too_large")
        codes[415].add("unsupported_media_type")
    for error in getattr(view, _RAISES, ()):
        codes[error.status].add(error.code)
    return codes


def _describe_problem(status: int, codes: set[str]) -> dict[str, Any]:
    words = ", ".join(f"`{code}`" for code in sorted(codes))
    described: dict[str, Any] = {
        "description": f"{http.HTTPStatus(status).phrase}: {words}",
        "schema": _PROBLEM,
        "content_type": PROBLEM_CONTENT_TYPE,
    }
    if status in {429, 503}:
        # There are refusals that no wait ends.
        is_required = status == 503 or codes == set(_ALWAYS[429])
        described["headers"] = {"Retry-After": {"schema": {"type": "integer", "minimum": 1}, "required": is_required}}
    return described


def _describe_extended_users(document: dict[str, Any]) -> None:
    """Say of users in JSON what this application's extensions add, if they do."""
    names = [extension.name for extension in get_extensions() if extension.describe_users is not None]
    for name, schema in document["components"]["schemas"].items():
        if name in {UserOutput.__name__, OwnUserOutput.__name__}:
            added = schema["properties"].pop("extensions")
            if names:
                schema["properties"]["extensions"] = {
                    "type": "object",
                    "description": added["description"],
                    "properties": {each: {} for each in names},
                    "required": names,
                }
                schema["required"] = [*schema["required"], "extensions"]


def _describe_sign_in(document: dict[str, Any]) -> None:
    """Say which fields of a body stand for one another, and whether this application has passwords."""
    schemas = document["components"]["schemas"]
    for described in (MailSignInProofInput, ReauthenticateInput):
        ways = [{"required": list(way)} for way in described.ALTERNATIVES]
        schemas[described.__name__] |= {"required": [], "anyOf": ways}
    if PASSWORD in get_settings().sign_in_methods:
        registration = schemas[RegisterInput.__name__]
        registration["required"] = [*registration["required"], "password"]
        password = registration["properties"]["password"]
        password["type"] = "string"
        del password["default"]


class Api(flask_smorest.Api):  # type: ignore[misc] # Flask-Smorest ships no types
    """The document of all blueprints registered with it. Errors are answered by ``problems``, not by the library."""

    DEFAULT_ERROR_RESPONSE_NAME = None

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._blueprints: list[Blueprint] = []
        self._names: dict[tuple[str, str], Blueprint] = {}
        self._text: str | None = None
        self._describing = threading.Lock()

    def register_blueprints(self, blueprints: Iterable[Blueprint]) -> None:
        """Register all ``blueprints`` of the application.

        Raises:
            LookupError: two operations or resources have the same name, or two errors the same code.
        """
        for blueprint in blueprints:
            self.register_blueprint(blueprint)
        _check_error_codes(self._app)

    def register_blueprint(self, blueprint: Blueprint) -> None:
        """Register ``blueprint`` with the application; its routes are described when the document is requested.

        Raises:
            LookupError: it gives an operation or a resource a name that another has.
        """
        for kind, name in list_names(blueprint):
            self._take_name(kind, name, blueprint)
        self._app.register_blueprint(blueprint)
        self._blueprints.append(blueprint)

    def _take_name(self, kind: str, name: str, blueprint: Blueprint) -> None:
        owner = self._names.setdefault((kind, name), blueprint)
        if owner is not blueprint:
            raise LookupError(
                f"the blueprints {owner.name} and {blueprint.name} both have the {kind} {name}: rename one of them"
            )

    def describe(self, *, base_url: str) -> str:
        """Return the document as JSON, made at the first request: that used to take most of the start."""
        with self._describing:
            if self._text is None:
                tags: dict[str, str] = {}
                for blueprint in self._blueprints:
                    blueprint.register_views_in_doc(self, self._app, self.spec, name=blueprint.name, parameters=None)
                    # Blueprints may share a tag; the first describes it.
                    tags.setdefault(blueprint.tag, blueprint.description)
                for name, description in tags.items():
                    self.spec.tag({"name": name, "description": description})
                described = self.spec.to_dict()
                _describe_extended_users(described)
                _describe_sign_in(described)
                self._text = json.dumps(finish_document(described, base_url=base_url))
            return self._text

    def _register_error_handlers(self) -> None:
        """Do nothing: ``problems`` answers errors."""

    def _register_doc_blueprint(self) -> None:
        """Do nothing: ``routes/docs.py`` serves the document, under a guard like every route."""


def make_api(app: Flask, *, version: str, cookie_name: str) -> Api:
    """Return the application's API, ready for blueprints."""
    app.config.update(API_TITLE="Gatehouse", API_VERSION=version, OPENAPI_VERSION=OPENAPI_VERSION)
    api = Api(
        spec_kwargs={
            "info": {"description": _DESCRIPTION, "license": {"name": "MIT", "identifier": "MIT"}},
            "servers": [{"url": "/"}],
            "marshmallow_plugin": MarshmallowPlugin(schema_name_resolver=_name_schema),
        }
    )
    api.init_app(app)
    api.ma_plugin.converter.add_attribute_function(_describe_keys)
    api.spec.components.security_scheme(
        "session",
        {
            "type": "apiKey",
            "in": "cookie",
            "name": cookie_name,
            "description": "Set by signing in. State-changing calls also need the X-CSRF-Token header.",
        },
    )
    return api
