"""The files of a new extension or resource, made from ``templates/``; nothing is written here."""

import keyword
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import jinja2
import sqlalchemy as sa

from app.database.types import UtcDateTime
from app.extending import FACE
from app.extending.names import NAME_MAX_LENGTH, find_name_fault
from app.extending.tables import NAME_MAX_BYTES
from app.search import SearchText

from .autogenerate import render_type
from .fields import Field

LINE_LENGTH: Final = 120
_MODEL: Final = re.compile(r"[A-Z][A-Za-z0-9]*")
_TEMPLATES: Final = Path(__file__).with_name("templates")


class Names:
    """What a resource is called: ``LineItem``, ``line_item``, ``line_items``, its table and its path."""

    def __init__(self, model: str, *, extension: str, plural: str | None = None) -> None:
        self.model = model
        self.name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", model).lower()
        self.plural = plural or make_plural(self.name)
        is_all = extension == self.plural or extension.endswith(f"_{self.plural}")
        self.table = extension if is_all else f"{extension}_{self.plural}"
        self.words = self.name.replace("_", " ")
        self.plural_words = self.plural.replace("_", " ")
        self.path = self.plural.replace("_", "-")
        self.article = "an" if self.name[0] in "aeiou" else "a"


def make_plural(name: str) -> str:
    """Return the plural of an English noun, where that is regular."""
    if re.search(r"[^aeiou]y$", name):
        return f"{name[:-1]}ies"
    return f"{name}es" if re.search(r"(s|x|z|ch|sh)$", name) else f"{name}s"


def find_faults(names: Names, extension: str, fields: Sequence[Field]) -> Iterator[str]:
    """Yield what is wrong with what a resource and its fields are called."""
    if fault := find_name_fault(extension):
        yield f"{extension!r}: {fault}"
    if not _MODEL.fullmatch(names.model) or keyword.iskeyword(names.model) or len(names.name) > NAME_MAX_LENGTH:
        yield f"{names.model!r}: a resource is called as a class, such as Invoice or LineItem"
        return
    if names.model in {"User", "Model", "Base"}:
        yield f"{names.model}: this is the name of something of Gatehouse's"
    if fault := find_name_fault(names.plural):
        yield f"{names.plural!r}, of which the permissions are: {fault}"
    if not fields:
        yield "name at least one field, such as number:text"
    columns = [field.column_name for field in fields]
    for column in sorted({column for column in columns if columns.count(column) > 1}):
        yield f"{column}: two fields have this name"
    for column in columns:
        if len(name := f"fk_{names.table}_{column}_users") > NAME_MAX_BYTES:
            yield f"{name} has more than {NAME_MAX_BYTES} characters: choose shorter names"
    if sum(field.type == "user" for field in fields) > 1:
        yield "two fields refer to users: begin with the one whose the rows are, and add the other by hand"


def render(template: str, values: dict[str, Any]) -> str:
    """Return the file that ``template`` makes of ``values``."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - it makes code, of checked names
    )
    environment.filters["quote"] = lambda text: f'"{text}"'
    text = environment.get_template(f"{template}.jinja").render(values)
    return re.sub(r"\n{4,}", "\n\n\n", text)


def describe(names: Names, extension: str, fields: Sequence[Field], *, after: str | None) -> dict[str, Any]:
    """Return what the templates of a resource are made of; ``after`` is the last migration that there is."""
    searched = [field.name for field in fields if field.type == "text"]
    references = [field for field in fields if field.type == "user"]
    owner = references[0].column_name if references else None
    return {
        **vars(names),
        **_describe_code(names, fields, owner=owner),
        **_describe_imports(fields, searched=searched, owner=owner),
        "extension": extension,
        "face": FACE,
        "title_text": extension.replace("_", " ").capitalize(),
        "fields": fields,
        "enums": [field for field in fields if field.type == "enum"],
        "uniques": [field for field in fields if field.is_unique],
        "references": references,
        "owner": owner,
        "searched": searched,
        "searched_columns": write_tuple(searched),
        "filters": [field for field in fields if field.kind.query],
        "revision": f"{int(after or 0) + 1:04}",
        "after": after,
        "stored": _list_stored(fields, searched=searched),
        "needs_mysql": True,  # for the times that every row has
    }


def _describe_code(names: Names, fields: Sequence[Field], *, owner: str | None) -> dict[str, Any]:
    """Return the lines of code that are made as a whole, because their length decides how they are broken."""
    filtered = ", ".join(f"{names.model}.{field.column_name}" for field in fields if field.kind.query)
    parts = [part for part in ('{"owner": owned_by(' + names.model + ")}" if owner else "", filtered) if part]
    by_filter = [part if part.startswith("{") else f"filter_by({part})" for part in parts]
    uniques = [field for field in fields if field.is_unique]
    columns = [field.column_name for field in fields if field.type != "user"]
    sorted_by = sorted(field.column_name for field in fields if field.kind.is_sorted)
    example = next((field for field in fields if field.type != "user"), fields[0])
    title = next((field.name for field in fields if field.type == "text"), "id")
    guards = [f"refuse_duplicate({names.model}.{field.name}, {field.class_name}Taken)" for field in uniques]
    by_columns = [f"{names.model}.{column}" for column in ("created_at", *sorted_by)]
    return {
        "sorts": write_call("SORTS: Final = Sort.make_all", [*by_columns, f"key={names.model}.id"]),
        "filter_code": " | ".join(by_filter) or "{}",
        "creating": write_with([*guards, "transaction() as writing"]),
        "changing": write_with([*guards, "transaction()"]),
        "taken": [f"services.{field.class_name}Taken" for field in uniques],
        "resource": write_call(
            "@blueprint.resource",
            [f'"{names.plural}"', f'title="{title}"', f"columns=({write_tuple(columns or ['id'])})"],
        ),
        "or_own": f", or_own={names.model}" if owner else "",
        "owner_parameter": ", *, owner: uuid.UUID | None" if owner else "",
        "owner_argument": ", owner=owner" if owner else "",
        "blueprint": write_call(
            "blueprint = Blueprint",
            [
                f'"{names.table}"',
                "__name__",
                f'tag="{names.path}"',
                f'url_prefix="/api/v1/{names.path}"',
                f'description="{names.plural_words.capitalize()}"',
            ],
        ),
        "change": f'{{"{example.column_name}": {example.kind.changed}}}',
        "other_unique": "".join(f' | {{"{field.name}": {field.kind.changed}}}' for field in uniques),
    }


def _describe_imports(fields: Sequence[Field], *, searched: Sequence[str], owner: str | None) -> dict[str, Any]:
    """Return what each file imports."""
    kinds = [field.kind for field in fields]
    is_unique = any(field.is_unique for field in fields)
    is_filtered = any(kind.query for kind in kinds)
    services = {"Actor", "Listing", "NotFound", "Page", "Sort", "audit", "get_row", "retried", "transaction"}
    services |= {"User", "check_reference", "owned_by"} if owner else set()
    services |= {"Conflict", "refuse_duplicate"} if is_unique else set()
    services |= {"filter_by"} if is_filtered else set()
    schemas = {"Changes", "Input", "Instant", "Output", "PageQuery"}
    schemas |= {name for kind in kinds for name in kind.schema_names} | ({"Text"} if searched else set())
    code = " ".join(kind.python_type + kind.column for kind in kinds) + (
        "enum." if any(f.members for f in fields) else ""
    )
    standard = [name for name in ("datetime", "decimal", "enum", "uuid") if f"{name}." in code]
    lines = [f"import {name}" for name in standard] + (["from typing import ClassVar"] if searched else [])
    has_columns = any(field.column for field in fields)
    packages = ["import sqlalchemy as sa"] if "sa." in code else []
    packages.append(f"from sqlalchemy.orm import Mapped{', mapped_column' if has_columns else ''}")
    return {
        "imports": write_import,
        "model_names": sorted({"Model"} | {name for kind in kinds for name in kind.names}),
        "schema_names": sorted(schemas),
        "service_names": sorted(services),
        "packages": "\n\n".join("\n".join(block) for block in (lines, packages) if block),
    }


def _list_stored(fields: Sequence[Field], *, searched: Sequence[str]) -> list[tuple[str, str, str]]:
    """Return the columns of a migration: the name, the type, and what else is said."""
    columns = [(field.column_name, field.kind.stored, "") for field in fields]
    columns += [("created_at", UtcDateTime(), ""), ("updated_at", UtcDateTime(), "")]
    columns += [("search_text", SearchText(), 'server_default=""')] if searched else []
    return [(name, write_type(stored), more) for name, stored, more in columns]


def write_type(stored: sa.types.TypeEngine[Any]) -> str:
    """Return the type of a column as a migration has it: the plain types, a line for each database that differs."""
    if not isinstance(stored, sa.types.TypeDecorator):
        return f"sa.{stored!r}"
    return render_type(stored, set()).replace("'", '"').replace(".with_variant", "\n.with_variant")


def write_import(names: Sequence[str]) -> str:
    """Return the import of ``names`` from ``gatehouse``, on one line or one each."""
    # As the linter sorts them: constants, classes, functions.
    ordered = sorted(names, key=lambda name: (not name[0].isupper(), name))
    line = f"from gatehouse import {', '.join(ordered)}"
    if len(line) <= LINE_LENGTH:
        return line
    return "from gatehouse import (\n" + "".join(f"    {name},\n" for name in ordered) + ")"


def write_tuple(texts: Sequence[str]) -> str:
    """Return what stands between the parentheses of a tuple of ``texts``."""
    return ", ".join(f'"{text}"' for text in texts) + ("," if len(texts) == 1 else "")


def write_call(called: str, arguments: Sequence[str]) -> str:
    """Return a call on one line, with its arguments on a line of their own, or with a line for each."""
    joined = ", ".join(arguments)
    if len(f"{called}({joined})") <= LINE_LENGTH:
        return f"{called}({joined})"
    if len(joined) + 4 <= LINE_LENGTH:
        return f"{called}(\n    {joined}\n)"
    return f"{called}(\n" + "".join(f"    {argument},\n" for argument in arguments) + ")"


def write_with(contexts: Sequence[str]) -> str:
    """Return the beginning of a block in ``contexts``, inside a function."""
    line = f"    with {', '.join(contexts)}:"
    if len(line) <= LINE_LENGTH:
        return line
    return "    with (\n" + "".join(f"        {context},\n" for context in contexts) + "    ):"
