"""Values that a field refuses, made from what the OpenAPI document says about it."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from app.http.json_schema import resolve_schema

_KINDS: Final = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})
# By the kinds of JSON value that it passes for; a number beyond what databases hold is refused by all but floats.
_BY_KIND: Final[tuple[tuple[str, frozenset[str], Any], ...]] = (
    ("an object", frozenset({"object"}), {"a": 1}),
    ("a number", frozenset({"integer", "number"}), 1),
    ("a fraction", frozenset({"number"}), 1.5),
    ("null", frozenset({"null"}), None),
    ("an integer of 80 bits", frozenset({"number"}), 2**80),
    ("true", frozenset({"boolean"}), True),
    ("a word", frozenset({"string"}), "yes"),
    ("an empty text", frozenset({"string"}), ""),
    ("a list of objects", frozenset({"array"}), [{"a": 1}]),
)
# What no field takes, whatever is said about it.
_NEVER: Final = {"NUL": "a\0b", "half of a surrogate pair": "a\ud800b"}
# What only a field takes whose pattern says so.
_UNLESS_SAID: Final = {"an escape sequence": "a\x1b[31m", "two lines": "a\nb"}
_BY_FORMAT: Final[Mapping[str, tuple[str, ...]]] = {
    "uuid": ("me", "019cadd4-c134-7c41-9a3e"),
    "decimal": ("1e3", "NaN", "Infinity", "12,50", "1_0"),
    "date": ("yesterday", "2026-02-30", "2026-01-01T00:00:00Z"),
    "date-time": ("yesterday", "2026-01-01T00:00:00", "0001-01-01T00:00:00+23:00"),
    "email": ("nobody", "a@b@example.com"),
}
_LONG: Final = 5000
_MOST_ITEMS: Final = 1000


def list_wrong_values(about: dict[str, Any], schemas: Mapping[str, Any], example: object) -> Iterator[tuple[str, Any]]:
    """Yield what is wrong with a value, and the value, for each that a field so described must refuse.

    ``example`` is a value that it takes, of which what is inside lists and objects is made.
    """
    described = resolve_schema(about, schemas)
    kinds = frozenset(described["type"]) or _KINDS
    for what, passing, value in _BY_KIND:
        if not kinds & passing:
            yield what, value
    yield from _NEVER.items()
    if "string" in kinds:
        yield from ((f"text: {what}", value) for what, value in list_wrong_texts(described))
    else:
        yield from _UNLESS_SAID.items()
        yield "far too long", "a" * _LONG
    if kinds & {"integer", "number"}:
        yield from _list_numbers_out_of_range(described)
    if "array" in kinds:
        yield from _list_wrong_lists(described, schemas, example)
    if "object" in kinds:
        yield from _list_wrong_objects(described, schemas, example)


def list_wrong_texts(described: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a text, and the text, for each that a field so described must refuse."""
    is_free = not {"format", "enum"} & described.keys()
    for what, text in _UNLESS_SAID.items():
        if not (is_free and "pattern" in described and re.search(described["pattern"], text)):
            yield what, text
    longest = described.get("maxLength", _LONG)
    yield "too long", "a" * (longest + 1)
    yield "far too long", "a" * max(longest + 1, _LONG)
    if described.get("minLength", 0) > 0:
        yield "too short", "a" * (described["minLength"] - 1)
    if "enum" in described:
        yield "not offered", "no-such-choice"
    for text in _BY_FORMAT.get(described.get("format", ""), ()):
        yield f"no {described['format']}", text


def _list_numbers_out_of_range(described: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, step in (("minimum", -1), ("maximum", 1)):
        if name in described:
            yield f"beyond its {name}", described[name] + step


def _list_wrong_lists(
    described: Mapping[str, Any], schemas: Mapping[str, Any], example: object
) -> Iterator[tuple[str, Any]]:
    items = example if isinstance(example, list) else []
    if "maxItems" in described and items and described["maxItems"] < _MOST_ITEMS:
        yield "too many items", items[:1] * (described["maxItems"] + 1)
    if described.get("minItems", 0) > 0:
        yield "too few items", items[:1] * (described["minItems"] - 1)
    if described.get("items"):
        for what, value in list_wrong_values(described["items"], schemas, items[0] if items else None):
            yield f"an item: {what}", [value]


def _list_wrong_objects(
    described: Mapping[str, Any], schemas: Mapping[str, Any], example: object
) -> Iterator[tuple[str, Any]]:
    members: dict[str, Any] = example if isinstance(example, dict) else {}
    others = described.get("additionalProperties")
    if "properties" in described or others is False:
        yield "an unknown member", members | {"no_such_member": 1}
    for name in described.get("required", ()):
        yield f"without {name}", {key: value for key, value in members.items() if key != name}
    for name, about in described.get("properties", {}).items():
        for what, value in list_wrong_values(about, schemas, members.get(name)):
            yield f"{name}: {what}", members | {name: value}
    if isinstance(others, dict) and others:
        name, member = next(iter(members.items()), ("a", None))
        for what, value in list_wrong_values(others, schemas, member):
            yield f"a member: {what}", {name: value}
        if "pattern" in described.get("propertyNames", {}):
            yield "a name with a NUL", {"a\0b": member}
        if "maxProperties" in described:
            yield "too many members", {f"{name}{number}": member for number in range(described["maxProperties"] + 1)}
