"""What completes the OpenAPI document: examples, calls to copy, and errors described once."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from app.schemas.examples import EXAMPLES, EXCEPTIONS
from app.utils import HTTP_CODES, PROBLEM_CONTENT_TYPE, AppError, describe_problem

_METHODS: Final = frozenset({"get", "post", "put", "patch", "delete"})
_SCHEMA_PREFIX: Final = "#/components/schemas/"
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
            if parameter["in"] == "path":
                parameter["example"] = _find_example(operation["tags"][0], parameter["name"])
            elif parameter["in"] == "query":
                # Not "example", which the page fills in: with every filter filled in, a list is empty.
                parameter["schema"]["examples"] = [_find_example(operation["tags"][0], parameter["name"])]


def _make_example(schemas: dict[str, Any], name: str) -> dict[str, Any]:
    """Return an example of a schema; optional nested parts are left out."""
    properties = schemas[name].get("properties", {})
    return {
        field: _make_field_example(schemas, name, field, about)
        for field, about in properties.items()
        if "$ref" not in about or field in schemas[name].get("required", ())
    }


def _make_field_example(schemas: dict[str, Any], name: str, field: str, about: dict[str, Any]) -> Any:
    if "$ref" in about:
        return _make_example(schemas, about["$ref"].removeprefix(_SCHEMA_PREFIX))
    if "$ref" in about.get("items", {}):
        return [_make_example(schemas, about["items"]["$ref"].removeprefix(_SCHEMA_PREFIX))]
    return _find_example(name, field)


def _find_example(place: str, field: str) -> Any:
    """Return the example of ``field`` in a schema or a tag.

    Raises:
        LookupError: there is none.
    """
    exceptions = EXCEPTIONS.get(place, {})
    if field not in exceptions and field not in EXAMPLES:
        raise LookupError(f"give an example of {field} of {place} in app/schemas/examples.py")
    return exceptions.get(field, EXAMPLES.get(field))


def _make_call(document: dict[str, Any], base_url: str, path: str, method: str, operation: dict[str, Any]) -> str:
    """Return the shell commands that carry out ``operation``, with the session's cookie and its CSRF token."""
    for parameter in document["paths"][path].get("parameters", ()):
        path = path.replace(f"{{{parameter['name']}}}", parameter["example"])
    lines = ["curl -b cookies.txt -c cookies.txt"]
    if method != "get":
        lines[0] += f" -X {method.upper()}"
        lines.append('-H "X-CSRF-Token: $token"')
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content is not None:
        example = document["components"]["schemas"][content["schema"]["$ref"].removeprefix(_SCHEMA_PREFIX)]
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
