"""Resources: what a list says about its rows, so that a console and other clients need no list of their own."""

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final, TypeVar

from marshmallow import fields, validate

View = TypeVar("View", bound="Callable[..., Any]")

_ATTRIBUTE: Final = "_gatehouse_resource"
KEY: Final = "x-resource"
_CSV: Final = "text/csv"


@dataclasses.dataclass(frozen=True, slots=True)
class Resource:
    """The rows of a list: which of their fields are its columns, its title and its key."""

    name: str
    columns: tuple[str, ...]
    title: str
    key: str


def declare_resource(resource: Resource) -> Callable[[View], View]:
    """Say of a view what it lists."""

    def decorate(view: View) -> View:
        setattr(view, _ATTRIBUTE, resource)
        return view

    return decorate


def find_resource(view: object) -> Resource | None:
    """Return what ``view`` lists, or None."""
    return getattr(view, _ATTRIBUTE, None)


def describe_resource(resource: Resource, answer: Any, query: Any) -> dict[str, Any]:
    """Return the description of a resource, whose list answers by the schema ``answer`` and is asked by ``query``.

    Raises:
        LookupError: it names a field that its rows do not have, or there are no rows.
    """
    items = getattr(answer, "fields", {}).get("items")
    rows = items.inner.schema if isinstance(items, fields.List) and isinstance(items.inner, fields.Nested) else None
    if rows is None:
        raise LookupError(f"the resource {resource.name} belongs on a route that answers a list of nested `items`")
    asked: Mapping[str, Any] = getattr(query() if isinstance(query, type) else query, "fields", {})
    sorts = _list_sorts(asked.get("sort"))
    named = [*resource.columns, resource.title, resource.key, *(sort.removeprefix("-") for sort in sorts)]
    unknown = sorted(set(named) - rows.fields.keys())
    if unknown:
        raise LookupError(
            f"the resource {resource.name} names {', '.join(unknown)}, which {type(rows).__name__} does not have"
        )
    return {
        "name": resource.name,
        "key": resource.key,
        "title": resource.title,
        "columns": list(resource.columns),
        "sort": sorts,
        "search": "q" if "q" in asked else None,
    }


def _list_sorts(sort: fields.Field[Any] | None) -> list[str]:
    for each in getattr(sort, "validators", ()):
        if isinstance(each, validate.OneOf):
            return list(each.choices)
    return []


def add_operations(document: dict[str, Any]) -> None:
    """Say in the description of each resource which operations list, get, create, change, delete and export it."""
    paths = document["paths"]
    for path, item in paths.items():
        if KEY in item.get("get", {}):
            found = dict(_find_operations(paths, path))
            item["get"][KEY]["operations"] = {name: operation["operationId"] for name, operation in found.items()}


def _find_operations(paths: Mapping[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "list", paths[path]["get"]
    if "post" in paths[path]:
        yield "create", paths[path]["post"]
    for other, item in paths.items():
        rest = other.removeprefix(path)
        if other == rest:
            continue
        if rest.startswith("/{") and rest.count("/") == 1:
            for name, method in (("get", "get"), ("change", "patch"), ("delete", "delete")):
                # What answers something has not deleted: it resets.
                if method in item and (name != "delete" or "204" in item[method]["responses"]):
                    yield name, item[method]
        elif "{" not in rest and _CSV in _list_content_types(item.get("get", {})):
            yield "export", item["get"]


def _list_content_types(operation: Mapping[str, Any]) -> Collection[str]:
    content: Mapping[str, Any] = operation.get("responses", {}).get("200", {}).get("content", {})
    return [content_type.partition(";")[0] for content_type in content]
