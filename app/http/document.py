"""What completes the OpenAPI document: examples, calls to copy, and errors described once."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

from app.schemas.examples import EXAMPLES, EXCEPTIONS
from app.utils import HTTP_CODES, PROBLEM_CONTENT_TYPE, AppError, describe_problem

from .json_schema import SCHEMA_PREFIX, fits, make_value, resolve_schema
from .resources import add_operations

_METHODS: Final = frozenset({"get", "post", "put", "patch", "delete"})
# Flask-Smorest adds schemas for its own errors and pages, which nothing here uses.
_FOREIGN_SCHEMAS: Final = ("Error", "PaginationMetadata")


def finish_document(document: dict[str, Any], *, base_url: str) -> dict[str, Any]:
    """Return ``document`` with examples, a curl command for each operation, and each error as a shared component."""
    for name in _FOREIGN_SCHEMAS:
        document["components"]["schemas"].pop(name, None)
    _add_examples(document)
    for path, method, operation in list_operations(document):
        operation["x-codeSamples"] = [
            {"lang": "Shell", "label": "curl", "source": _make_call(document, base_url, path, method, operation)}
        ]
    add_operations(document)
    _share_errors(document)
    return document


def list_operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the path, the method and the description of each operation."""
    for path, item in document["paths"].items():
        for method in item.keys() & _METHODS:
            yield path, method, item[method]


def _add_examples(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for name, schema in schemas.items():
        schema["examples"] = [_make_example(schemas, name)]
    for path, _, operation in list_operations(document):
        for parameter in (*document["paths"][path].get("parameters", ()), *operation.get("parameters", ())):
            if parameter["in"] not in {"path", "query"}:
                continue
            example = _find_example(operation["tags"][0], parameter["name"], parameter["schema"], schemas)
            if parameter["in"] == "path":
                parameter["example"] = example
            else:
                # Not "example", which the page fills in: with every filter filled in, a list is empty.
                parameter["schema"]["examples"] = [example]


def _make_example(schemas: dict[str, Any], name: str) -> dict[str, Any]:
    """Return an example of a schema; optional nested parts are left out, except in what is sent."""
    about = schemas[name]
    return {
        field: _make_field_example(schemas, name, field, member)
        for field, member in about.get("properties", {}).items()
        if "$ref" not in member or field in about.get("required", ()) or about.get("additionalProperties") is False
    }


def _make_field_example(schemas: dict[str, Any], name: str, field: str, about: dict[str, Any]) -> Any:
    reference = _find_reference(about)
    if reference is not None:
        return _make_example(schemas, reference)
    reference = _find_reference(about.get("items", {}))
    if reference is not None:
        return [_make_example(schemas, reference)]
    return _find_example(name, field, about, schemas)


def _find_reference(about: dict[str, Any]) -> str | None:
    """Return the name of the schema that a value has, which may be null instead, or None."""
    for part in (about, *(part for name in ("allOf", "anyOf", "oneOf") for part in about.get(name, ()))):
        if "$ref" in part:
            return str(part["$ref"]).removeprefix(SCHEMA_PREFIX)
    return None


def _find_example(place: str, field: str, about: dict[str, Any], schemas: dict[str, Any]) -> Any:
    """Return the example of ``field`` in a schema or a tag: its own, that of its name if it fits, or one made for it.

    Raises:
        LookupError: there is none.
    """
    if field in EXCEPTIONS.get(place, {}):
        return EXCEPTIONS[place][field]
    if "example" in about:
        return about["example"]
    if field in EXAMPLES and fits(EXAMPLES[field], resolve_schema(about, schemas)):
        return EXAMPLES[field]
    try:
        return make_value(about, schemas)
    except LookupError as error:
        raise LookupError(f"give {field} of {place} an example: metadata={{'example': …}}") from error


def _make_call(document: dict[str, Any], base_url: str, path: str, method: str, operation: dict[str, Any]) -> str:
    """Return the shell commands that carry out ``operation``, with the session's cookie and its CSRF token."""
    for parameter in document["paths"][path].get("parameters", ()):
        path = path.replace(f"{{{parameter['name']}}}", quote(str(parameter["example"]), safe=""))
    lines = ["curl -b cookies.txt -c cookies.txt"]
    if method != "get":
        lines[0] += f" -X {method.upper()}"
        lines.append('-H "X-CSRF-Token: $token"')
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content is not None:
        example = document["components"]["schemas"][content["schema"]["$ref"].removeprefix(SCHEMA_PREFIX)]
        lines.append("-H 'Content-Type: application/json'")
        # An apostrophe would end the argument.
        body = json.dumps(example["examples"][0], ensure_ascii=False).replace("'", "'\\''")
        lines.append(f"-d '{body}'")
    lines.append(f"{base_url}{path}")
    call = " \\\n  ".join(lines)
    if method == "get":
        return call
    take = f"curl -s -b cookies.txt -c cookies.txt {base_url}/api/v1/auth/csrf | cut -sd '\"' -f 4"
    return f"token=$({take})\n{call}"


def _share_errors(document: dict[str, Any]) -> None:
    """Describe each error once, under ``components``, with its meaning and an example."""
    meanings = {code: (code.replace("_", " ").capitalize(), detail) for code, detail in HTTP_CODES.values()}
    meanings |= {error.code: (error.title, error.detail) for error in _list_errors(AppError) if "code" in vars(error)}
    responses, headers = (document["components"].setdefault(name, {}) for name in ("responses", "headers"))
    for _, _, operation in list_operations(document):
        for status, response in operation["responses"].items():
            for name, header in response.get("headers", {}).items():
                headers[name] = header
                response["headers"][name] = {"$ref": f"#/components/headers/{name}"}
            if int(status) >= 400:
                codes = re.findall(r"`(\w+)`", response["description"])
                name = "Or".join(code.title().replace("_", "") for code in codes)
                if name not in responses:
                    responses[name] = _explain_error(response, int(status), {code: meanings[code] for code in codes})
                operation["responses"][status] = {"$ref": f"#/components/responses/{name}"}


def _explain_error(response: dict[str, Any], status: int, meanings: dict[str, tuple[str, str]]) -> dict[str, Any]:
    explained = [f"`{code}`: {detail or title + '.'}" for code, (title, detail) in meanings.items()]
    code, (title, detail) = next(iter(meanings.items()))
    response["content"][PROBLEM_CONTENT_TYPE]["example"] = describe_problem(
        status=status, code=code, title=title, detail=detail, request_id=EXAMPLES["request_id"]
    )
    return response | {"description": "\n\n".join(explained)}


def _list_errors(root: type[AppError]) -> list[type[AppError]]:
    return [root, *(error for child in root.__subclasses__() for error in _list_errors(child))]
