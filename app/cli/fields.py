"""The fields that ``flask new resource`` is given, and the code that each is in each layer."""

import dataclasses
import datetime
import keyword
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import sqlalchemy as sa

from app.database.types import ExactDecimal, ExactString, UtcDateTime

FORM: Final = "NAME:TYPE"
TEXT_LENGTH: Final = 200
ENUM_LENGTH: Final = 32
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
NAME_MAX_LENGTH: Final = 24
# What every row, list or view has, and what would hide what the code uses.
TAKEN: Final = frozenset({
    "id", "created_at", "updated_at", "search_text", "owner", "q", "sort", "limit", "cursor", "metadata", "registry",
    "query", "body", "fields", "items", "extensions",
})  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """A type of fields: the code that stands for it."""

    python_type: str
    column: str
    """Of the model, behind the annotation; empty where that says all."""
    stored: sa.types.TypeEngine[Any]
    input: str
    output: str
    example: str
    """In JSON, as Python has it."""
    changed: str
    """Another of those."""
    query: str = ""
    """Of the list's query, where the list is filtered by it."""
    is_sorted: bool = False
    names: Sequence[str] = ()
    """What the code takes from ``gatehouse`` for the model, and for the schemas."""
    schema_names: Sequence[str] = ()


def make_column(code: str) -> str:
    """Return the column of a model behind its annotation."""
    return f" = mapped_column({code})"


_DAY: Final = datetime.date(2026, 1, 31)
KINDS: Final[Mapping[str, Kind]] = MappingProxyType({
    "text": Kind(
        python_type="str",
        column=make_column(f"ExactString({TEXT_LENGTH})"),
        stored=ExactString(TEXT_LENGTH),
        input=f"Text(min_length=1, max_length={TEXT_LENGTH}, required=True)",
        output="fields.String(required=True)",
        example='"Some text"',
        changed='"Another text"',
        is_sorted=True,
        names=["ExactString", "Searched"],
        schema_names=["Text"],
    ),
    "int": Kind(
        python_type="int",
        column="",
        stored=sa.Integer(),
        input="WholeNumber(required=True)",
        output="fields.Integer(required=True)",
        example="3",
        changed="-5",
        is_sorted=True,
        schema_names=["WholeNumber"],
    ),
    "decimal": Kind(
        python_type="decimal.Decimal",
        column=make_column("ExactDecimal(12, 2)"),
        stored=ExactDecimal(12, 2),
        input="Amount(required=True)",
        output="Amount(required=True)",
        example='"12.50"',
        changed='"-0.99"',
        is_sorted=True,
        names=["ExactDecimal"],
        schema_names=["Amount"],
    ),
    "bool": Kind(
        python_type="bool",
        column="",
        stored=sa.Boolean(),
        input="Flag(load_default=False)",
        output="fields.Boolean(required=True)",
        example="False",
        changed="True",
        query="QueryFlag()",
        schema_names=["Flag", "QueryFlag"],
    ),
    "date": Kind(
        python_type="datetime.date",
        column="",
        stored=sa.Date(),
        input="Date(required=True)",
        output="Date(required=True)",
        example=f'"{_DAY}"',
        changed='"2026-12-24"',
        is_sorted=True,
        schema_names=["Date"],
    ),
    "datetime": Kind(
        python_type="datetime.datetime",
        column="",
        stored=UtcDateTime(),
        input="Instant(required=True)",
        output="Instant(required=True)",
        example=f'"{_DAY}T12:00:00Z"',
        changed='"2026-12-24T18:30:00Z"',
        is_sorted=True,
    ),
    "user": Kind(
        python_type="uuid.UUID",
        column=make_column('sa.ForeignKey("users.id"), index=True'),
        stored=sa.Uuid(),
        input="fields.UUID(required=True)",
        output="fields.UUID(required=True)",
        example="str(user.id)",
        changed="str(user.id)",
        query="fields.UUID()",
    ),
})  # fmt: skip


class FieldRefused(Exception):
    """The text is no field; the message says why."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Field:
    """One field of a resource."""

    name: str
    type: str
    kind: Kind
    members: Sequence[str] = ()
    is_unique: bool = False

    @property
    def words(self) -> str:
        """The name in a sentence."""
        return self.name.replace("_", " ")

    @property
    def class_name(self) -> str:
        """The name as a class has it."""
        return "".join(word.capitalize() for word in self.name.split("_"))

    @property
    def column_name(self) -> str:
        """The column's name: that of a reference ends with ``_id``."""
        return f"{self.name}_id" if self.type == "user" else self.name

    @property
    def column(self) -> str:
        """The column of the model, behind its annotation."""
        if not self.is_unique:
            return self.kind.column
        return self.kind.column.removesuffix(")") + ", unique=True)" if self.kind.column else make_column("unique=True")

    def __getattr__(self, name: str) -> object:
        """Return what the type says: templates ask the field for all."""
        return getattr(self.kind, name)


def parse_field(text: str) -> Field:
    """Return the field that ``text`` spells out: ``number:text:unique``, ``status:enum=draft,sent``.

    Raises:
        FieldRefused: with the reason.
    """
    name, _, rest = text.partition(":")
    kind_text, _, mark = rest.partition(":")
    kind_name, _, listed = kind_text.partition("=")
    if not _NAME.fullmatch(name) or len(name) > NAME_MAX_LENGTH or keyword.iskeyword(name):
        raise FieldRefused(f"{text}: a field's name has at most {NAME_MAX_LENGTH} small letters, digits and single _")
    if name in TAKEN or f"{name}_id" in TAKEN:
        raise FieldRefused(f"{text}: {name} means something else already: choose another name")
    if mark not in {"", "unique"}:
        raise FieldRefused(f"{text}: behind the type there can be :unique and nothing else")
    members = tuple(listed.split(",")) if listed else ()
    if kind_name == "enum":
        kind = _make_enum(text, name, members)
    elif kind_name in KINDS and not listed:
        kind = KINDS[kind_name]
    else:
        types = ", ".join([*KINDS, "enum=one,two"])
        raise FieldRefused(f"{text}: write {FORM}, with one of the types {types}")
    if mark and kind_name not in {"text", "int"}:
        raise FieldRefused(f"{text}: only a text or an int can be unique")
    return Field(name=name, type=kind_name, kind=kind, members=members, is_unique=bool(mark))


def _make_enum(text: str, name: str, members: Sequence[str]) -> Kind:
    """Return the type of a field that is one of ``members``."""
    is_right = len(members) > 1 and len(set(members)) == len(members)
    if not is_right or not all(_NAME.fullmatch(each) and len(each) <= ENUM_LENGTH for each in members):
        raise FieldRefused(f"{text}: name what it may be, such as {name}:enum=draft,sent in small letters")
    class_name = "".join(word.capitalize() for word in name.split("_"))
    return Kind(
        python_type=class_name,
        column=make_column(f"EnumString({class_name})"),
        stored=ExactString(ENUM_LENGTH),
        input=f"Choice({class_name}, load_default={class_name}.{members[0].upper()})",
        output=f"Choice({class_name}, required=True)",
        example=f'"{members[0]}"',
        changed=f'"{members[1]}"',
        query=f"Choice({class_name})",
        names=["EnumString"],
        schema_names=["Choice"],
    )
