"""The kinds of schemas: what is asked, what is answered, and what all of a kind share."""

import functools
from collections.abc import Callable
from typing import Any, ClassVar, Final

import marshmallow as ma
from marshmallow import fields, validate

from app.utils import Message

from .messages import give_codes
from .values import Cursor, Instant, Whole, write_instant

PAGE_LIMIT: Final = 200
PAGE_DEFAULT: Final = 50


class Input(ma.Schema):
    """A body or a query."""

    class Meta:
        """Refuse unknown fields, so that a misspelt or forbidden one is not silently ignored."""

        unknown = ma.RAISE

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        give_codes(self)


class Changes(Input):
    """Changes to what another body makes: its fields, each of which may be left out, and then stays as it is.

    Inherit from it first: ``class InvoiceUpdateInput(Changes, InvoiceCreateInput)``.
    """

    def on_bind_field(self, field_name: str, field_obj: ma.fields.Field[Any]) -> None:
        """Ask for no field, and make none up."""
        del field_name
        field_obj.required = False
        field_obj.load_default = ma.missing


class Alternatives(Input):
    """A body that says one thing in one of several ways: all fields of one are there, and the first such counts."""

    ALTERNATIVES: ClassVar[tuple[tuple[str, ...], ...]]

    @ma.post_load
    def _keep_one(self, body: dict[str, Any], **_options: Any) -> dict[str, Any]:
        chosen = next((way for way in self.ALTERNATIVES if body.keys() >= set(way)), None)
        if chosen is None:
            # What is missing of the one that most is there of.
            nearest = max(self.ALTERNATIVES, key=lambda way: len(body.keys() & set(way)))
            missing = [field for field in nearest if field not in body]
            others = " or ".join(" with ".join(way) for way in self.ALTERNATIVES)
            message = Message(f"Give {others}.", "required")
            raise ma.ValidationError({field: [message] for field in missing})
        left_out = {field for way in self.ALTERNATIVES for field in way}.difference(chosen)
        return {field: value for field, value in body.items() if field not in left_out}


class PageQuery(Input):
    """Which page of a list."""

    limit = Whole(validate=validate.Range(min=1, max=PAGE_LIMIT), load_default=PAGE_DEFAULT)
    cursor = Cursor()


class Output(ma.Schema):
    """An answer; every field that is ``required`` is always there.

    It is dumped from a dict or from plain attributes. Marshmallow would look for each of them in four ways, and ask
    each field each time how it is written; here that is found out once.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._members = [(name, *_find_writer(name, field)) for name, field in self.dump_fields.items()]

    def _serialize(self, obj: Any, *, many: bool = False) -> Any:
        if many:
            return [self._serialize(each) for each in obj]
        read: Any = dict.get if isinstance(obj, dict) else getattr
        return {
            name: None if (value := read(obj, attribute) if attribute else obj) is None else write(value)
            for name, attribute, write in self._members
        }


_WRITERS: Final[dict[type[Any], Callable[[Any], Any]]] = {
    fields.Boolean: bool,
    fields.String: str,
    fields.UUID: str,
    Instant: write_instant,
}


def _find_writer(name: str, field: Any) -> tuple[str | None, Any]:
    """Return what ``field`` is made of, None for the whole object, and what makes JSON of that, unless it is None."""
    attribute = field.attribute or name
    if isinstance(field, fields.Function):
        return None, field.serialize_func
    if isinstance(field, fields.List) and isinstance(field.inner, fields.Nested):
        return attribute, functools.partial(field.inner.schema.dump, many=True)
    if isinstance(field, fields.List) and type(field.inner) is fields.String:
        return attribute, list
    return attribute, _WRITERS.get(type(field)) or functools.partial(field._serialize, attr=name, obj=None)  # noqa: SLF001 - what Marshmallow calls itself, after looking
