"""What a JSON Schema of the document says about a value: all in one place, whether one fits, and one that does."""

import datetime
import re
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

SCHEMA_PREFIX: Final = "#/components/schemas/"
_PARTS: Final = ("allOf", "anyOf", "oneOf")
_KINDS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "array": lambda value: isinstance(value, list),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "object": lambda value: isinstance(value, dict),
    "string": lambda value: isinstance(value, str),
}
_BY_FORMAT: Final = {
    "date": "2026-03-25",
    "date-time": "2026-03-25T06:58:44.120000Z",
    "email": "ada@example.com",
    "uri": "https://example.com/",
    "url": "https://example.com/",
    "uuid": "019cadd4-c134-7c41-9a3e-5b0d2f6e8c17",
}
_READ_FORMAT: Final[Mapping[str, Callable[[str], object]]] = {
    "date": datetime.date.fromisoformat,
    "date-time": datetime.datetime.fromisoformat,
    "uuid": uuid.UUID,
}
# Tried in this order where nothing else says what a text looks like.
_TEXTS: Final = ("Example", "example", "12.50", "1", "A1", "EUR", "A-1")


def resolve_schema(about: Mapping[str, Any], schemas: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is said about a value in one place: what it refers to filled in, its ``type`` always a list."""
    parts = [part for name in _PARTS for part in about.get(name, ())]
    if "$ref" in about:
        parts.append(schemas[about["$ref"].removeprefix(SCHEMA_PREFIX)])
    resolved = {name: value for name, value in about.items() if name not in {*_PARTS, "$ref"}}
    kinds = _list_kinds(resolved)
    for part in (resolve_schema(part, schemas) for part in parts):
        kinds += [kind for kind in part["type"] if kind not in kinds]
        resolved = part | resolved
    return resolved | {"type": kinds}


def _list_kinds(about: Mapping[str, Any]) -> list[str]:
    kinds = about.get("type", [])
    listed = [kinds] if isinstance(kinds, str) else list(kinds)
    return [*listed, "null"] if None in about.get("enum", ()) and "null" not in listed else listed


def fits(value: Any, resolved: Mapping[str, Any]) -> bool:
    """Say whether a resolved schema allows ``value``, as far as its own lines say; what is inside is not looked at."""
    if resolved["type"] and not any(_KINDS[kind](value) for kind in resolved["type"]):
        return False
    if "enum" in resolved and value not in resolved["enum"]:
        return False
    if isinstance(value, str):
        is_long_enough = resolved.get("minLength", 0) <= len(value) <= resolved.get("maxLength", len(value))
        return is_long_enough and bool(re.search(resolved.get("pattern", ""), value)) and _has_format(value, resolved)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return bool(resolved.get("minimum", value) <= value <= resolved.get("maximum", value))
    return True


def _has_format(text: str, resolved: Mapping[str, Any]) -> bool:
    try:
        _READ_FORMAT.get(resolved.get("format", ""), str)(text)
    except ValueError:
        return False
    return True


def make_value(about: Mapping[str, Any], schemas: Mapping[str, Any]) -> Any:
    """Return a value that the schema allows, if its own lines are enough to make one.

    Raises:
        LookupError: they are not.
    """
    resolved = resolve_schema(about, schemas)
    for value in (
        *resolved.get("enum", ()),
        _BY_FORMAT.get(resolved.get("format", "")),
        *_TEXTS,
        True,
        1,
        *(resolved[name] for name in ("minimum", "maximum") if name in resolved),
    ):
        if value is not None and fits(value, resolved):
            return value
    if "object" in resolved["type"]:
        members = resolved.get("properties", {})
        return {name: make_value(member, schemas) for name, member in members.items()}
    if "array" in resolved["type"]:
        return [make_value(resolved["items"], schemas)] if resolved.get("items") else []
    raise LookupError("no value could be made")
