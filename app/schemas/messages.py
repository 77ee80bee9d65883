"""The codes of what Marshmallow's fields and validators say: what they refuse is told by a ``Message``."""

import copy
import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import marshmallow as ma
from marshmallow import fields, validate

from app.utils import Message

Coded: TypeAlias = tuple[str, Mapping[str, Any]]
"""A code, and the parameters of its words."""

# Of what Marshmallow's own fields say: a class, its key for the text, and what to call that.
FIELD_CODES: Final[Mapping[tuple[type[Any], str], Coded]] = MappingProxyType(
    {
        (fields.Field, "null"): ("not_null", {}),
        (fields.Field, "validator_failed"): ("invalid", {}),
        (fields.String, "invalid"): ("invalid_type", {"expected": "string"}),
        (fields.String, "invalid_utf8"): ("invalid_unicode", {}),
        (fields.Boolean, "invalid"): ("invalid_type", {"expected": "boolean"}),
        (fields.List, "invalid"): ("invalid_type", {"expected": "array"}),
        (fields.Tuple, "invalid"): ("invalid_type", {"expected": "array"}),
        (fields.Mapping, "invalid"): ("invalid_type", {"expected": "object"}),
        (fields.Nested, "type"): ("invalid_type", {"expected": "array"}),
        (fields.Integer, "invalid"): ("invalid_integer", {}),
        (fields.Number, "invalid"): ("invalid_number", {}),
        (fields.Number, "too_large"): ("too_large", {}),
        (fields.Float, "special"): ("invalid_number", {}),
        (fields.Decimal, "special"): ("invalid_number", {}),
        (fields.DateTime, "invalid"): ("invalid_datetime", {}),
        (fields.AwareDateTime, "invalid_awareness"): ("time_zone_missing", {}),
        (fields.NaiveDateTime, "invalid_awareness"): ("time_zone_given", {}),
        (fields.Date, "invalid"): ("invalid_date", {}),
        (fields.Time, "invalid"): ("invalid_time", {}),
        (fields.TimeDelta, "invalid"): ("invalid_duration", {}),
    }
)
# Of validators that say one thing only.
VALIDATOR_CODES: Final[Mapping[type[validate.Validator], str]] = MappingProxyType(
    {
        validate.Email: "invalid_email",
        validate.URL: "invalid_url",
        validate.NoneOf: "not_allowed",
        validate.Regexp: "wrong_form",
    }
)
SCHEMA_CODES: Final[Mapping[str, Coded]] = MappingProxyType({"type": ("invalid_type", {"expected": "object"})})
_VALIDATORS_TEXTS: Final = ("error", "message_min", "message_max", "message_all", "message_equal")


def give_codes(schema: ma.Schema) -> None:
    """Have what ``schema`` refuses told by messages with codes, once and for all that it will load."""
    schema.error_messages = {
        key: text if isinstance(text, Message) else _make_message(text, SCHEMA_CODES.get(key, (key, {})))
        for key, text in schema.error_messages.items()
    }
    for field in schema.load_fields.values():
        _give_field_codes(field)


def _make_message(text: str, coded: Coded) -> Message:
    code, parameters = coded
    return Message(text, code, **parameters)


class _Wording(str):
    """A text of Marshmallow's, which is formatted where something is refused; that makes a message of it."""

    __slots__ = ("describe",)

    describe: Callable[[Mapping[str, Any]], Coded]

    def format(self, *args: object, **values: object) -> Message:
        """Return the message that this is with ``values`` filled in."""
        return _make_message(super().format(*args, **values), self.describe(values))


def _word(text: Any, describe: Callable[[Mapping[str, Any]], Coded]) -> Any:
    if not isinstance(text, str) or isinstance(text, _Wording):
        return text
    wording = _Wording(text)
    wording.describe = (lambda _: (text.code, text.parameters)) if isinstance(text, Message) else describe
    return wording


def _give_field_codes(field: Any) -> None:
    field.error_messages = {key: _word(text, _describe_key(field, key)) for key, text in field.error_messages.items()}
    field.validators = [_give_validator_codes(each) for each in field.validators]
    # Of lists, mappings, enumerations and tuples.
    inner = [getattr(field, name, None) for name in ("inner", "key_field", "value_field", "field")]
    for each in (*inner, *getattr(field, "tuple_fields", ())):
        if isinstance(each, fields.Field):
            _give_field_codes(each)


def _describe_key(field: Any, key: str) -> Callable[[Mapping[str, Any]], Coded]:
    """Return what tells the code of a field's text: for one that Marshmallow does not have, its key is the code."""
    if isinstance(field, fields.Enum) and key == "unknown":
        choices = [member.value if field.by_value else member.name for member in field.enum]
        return lambda _: ("not_one_of", {"choices": choices})
    for owner in type(field).__mro__:
        if (owner, key) in FIELD_CODES:
            coded = FIELD_CODES[owner, key]
            return lambda _: coded
        if key in vars(owner).get("default_error_messages", {}):
            break
    code = "not_null" if key == "null" else key
    # What was sent is no parameter: it can be a secret.
    return lambda values: (code, {name: value for name, value in values.items() if name != "input"})


def _give_validator_codes(validator: Any) -> Any:
    """Return a validator that does the same, with codes where its kind is known."""
    coded = copy.copy(validator)
    if isinstance(validator, validate.And):
        coded.validators = tuple(_give_validator_codes(each) for each in validator.validators)
        return coded
    describe = _find_description(validator)
    if describe is None:
        return validator
    for name in _VALIDATORS_TEXTS:
        if hasattr(validator, name):
            setattr(coded, name, _word(getattr(validator, name), describe))
    return coded


def _find_description(validator: Any) -> Callable[[Mapping[str, Any]], Coded] | None:
    if isinstance(validator, validate.Length):
        return functools.partial(_describe_length, validator)
    if isinstance(validator, validate.Range):
        return functools.partial(_describe_range, validator)
    if isinstance(validator, validate.OneOf):
        return lambda _: ("not_one_of", {"choices": list(validator.choices)})
    if isinstance(validator, validate.Equal):
        return lambda _: ("not_equal", {"expected": validator.comparable})
    for kind, code in VALIDATOR_CODES.items():
        if isinstance(validator, kind):
            return functools.partial(lambda code, _: (code, {}), code)
    return None


def _describe_length(length: validate.Length, values: Mapping[str, Any]) -> Coded:
    value = values["input"]
    if length.equal is not None:
        return "wrong_length", {"equal": length.equal}
    bounds = {name: bound for name, bound in (("min", length.min), ("max", length.max)) if bound is not None}
    is_short = length.min is not None and len(value) < length.min
    if isinstance(value, str):
        return "too_short" if is_short else "too_long", bounds
    return "too_few" if is_short else "too_many", bounds


def _describe_range(limits: validate.Range, values: Mapping[str, Any]) -> Coded:
    value = values["input"]
    lower, upper = "min" if limits.min_inclusive else "above", "max" if limits.max_inclusive else "below"
    bounds = {name: bound for name, bound in ((lower, limits.min), (upper, limits.max)) if bound is not None}
    is_small = limits.min is not None and (value < limits.min or (value == limits.min and lower == "above"))
    return "too_small" if is_small else "too_large", bounds
