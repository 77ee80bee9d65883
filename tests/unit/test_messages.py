"""What a schema refuses: each message has a code that programs know, and the parameters that words need."""

from __future__ import annotations

import datetime
import enum
import inspect
from typing import Any, Final

import marshmallow as ma
import pytest
from marshmallow import fields, validate

from app.http.bodies import flatten_messages
from app.http.problems import UNNAMED
from app.ratelimit.plan import ALLOWED_NOTATION
from app.schemas import Changes, Input
from app.schemas.messages import FIELD_CODES, VALIDATOR_CODES
from app.schemas.values import (
    Amount,
    Choice,
    Cursor,
    Date,
    Email,
    Flag,
    Instant,
    Limits,
    Password,
    QueryFlag,
    RoleLimits,
    Text,
    Whole,
    WholeNumber,
)
from app.utils import Message


class Color(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class Plate(fields.String):
    """A field of somebody else's, with texts of its own."""

    default_error_messages = {  # noqa: RUF012 - as Marshmallow has it
        "null": "Give the plate.",
        "foreign_plate": "Plates here begin with {prefix}.",
    }

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, *args, **kwargs)
        if not text.startswith("B-"):
            raise self.make_error("foreign_plate", input=value, prefix="B-")
        return text


def refuse_odd(value: int) -> None:
    """Refuse odd numbers, in words alone."""
    if value % 2:
        raise ma.ValidationError("This is odd.")


class LineInput(Input):
    text = Text(max_length=3)


def load(field: Any, value: Any) -> list[dict[str, Any]]:
    """Return the codes of what a field says to ``value``."""
    schema = Input.from_dict({"it": field}, name="OneInput")
    assert issubclass(schema, Input)
    with pytest.raises(ma.ValidationError) as caught:
        schema().load({} if value is ma.missing else {"it": value})
    return [
        {"code": message.code, **message.parameters} if isinstance(message, Message) else {"code": UNNAMED}
        for messages in flatten_messages(caught.value.messages).values()
        for message in messages
    ]


CASES: Final[list[tuple[Any, Any, dict[str, Any]]]] = [
    (fields.Raw(required=True), ma.missing, {"code": "required"}),
    (fields.Raw(), None, {"code": "not_null"}),
    (fields.String(), 1, {"code": "invalid_type", "expected": "string"}),
    (fields.String(), b"\xff", {"code": "invalid_unicode"}),
    (fields.Boolean(), "perhaps", {"code": "invalid_type", "expected": "boolean"}),
    (fields.List(fields.String()), "a", {"code": "invalid_type", "expected": "array"}),
    (fields.List(fields.Integer()), ["a"], {"code": "invalid_integer"}),
    (fields.Tuple((fields.Integer(),)), "a", {"code": "invalid_type", "expected": "array"}),
    (fields.Tuple((fields.Integer(),)), ["a"], {"code": "invalid_integer"}),
    (fields.Dict(), [], {"code": "invalid_type", "expected": "object"}),
    (fields.Dict(keys=fields.UUID()), {"a": 1}, {"code": "invalid_uuid"}),
    (fields.Dict(values=fields.List(fields.Date())), {"a": [1]}, {"code": "invalid_date"}),
    (fields.Nested(LineInput), [], {"code": "invalid_type", "expected": "object"}),
    (fields.Nested(LineInput), {"text": "four"}, {"code": "too_long", "max": 3}),
    (fields.Nested(LineInput), {"line": "one"}, {"code": "unknown"}),
    (fields.Nested(LineInput, many=True), {}, {"code": "invalid_type", "expected": "array"}),
    (fields.List(fields.Nested(LineInput)), [{"text": 1}], {"code": "invalid_type", "expected": "string"}),
    (fields.UUID(), "a", {"code": "invalid_uuid"}),
    (fields.Integer(), "a", {"code": "invalid_integer"}),
    (fields.Float(), "a", {"code": "invalid_number"}),
    (fields.Float(), 10**400, {"code": "too_large"}),
    (fields.Float(), "nan", {"code": "invalid_number"}),
    (fields.Decimal(), "a", {"code": "invalid_number"}),
    (fields.Decimal(), "nan", {"code": "invalid_number"}),
    (fields.DateTime(), "a", {"code": "invalid_datetime"}),
    (fields.AwareDateTime(), "2026-01-01T00:00:00", {"code": "time_zone_missing"}),
    (fields.NaiveDateTime(), "2026-01-01T00:00:00Z", {"code": "time_zone_given"}),
    (fields.Date(), "a", {"code": "invalid_date"}),
    (fields.Time(), "a", {"code": "invalid_time"}),
    (fields.TimeDelta(), "a", {"code": "invalid_duration"}),
    (fields.Email(), "a", {"code": "invalid_email"}),
    (fields.Url(), "a", {"code": "invalid_url"}),
    (fields.IPv4(), "a", {"code": "invalid_ip"}),
    (fields.IPInterface(), "a", {"code": "invalid_ip_interface"}),
    (fields.Enum(Color), "GREEN", {"code": "not_one_of", "choices": ["RED", "BLUE"]}),
    (fields.Enum(Color, by_value=fields.String), 1, {"code": "invalid_type", "expected": "string"}),
    (fields.String(validate=validate.OneOf(["a", "b, c"])), "d", {"code": "not_one_of", "choices": ["a", "b, c"]}),
    (fields.List(fields.Raw(), validate=validate.ContainsOnly(["a"])), ["b"], {"code": "not_one_of", "choices": ["a"]}),
    (fields.String(validate=validate.NoneOf(["a"])), "a", {"code": "not_allowed"}),
    (fields.String(validate=validate.Equal("a")), "b", {"code": "not_equal", "expected": "a"}),
    (fields.String(validate=validate.Regexp("a")), "b", {"code": "wrong_form"}),
    (fields.String(validate=validate.Length(min=2, max=3)), "a", {"code": "too_short", "min": 2, "max": 3}),
    (fields.String(validate=validate.Length(min=2, max=3)), "abcd", {"code": "too_long", "min": 2, "max": 3}),
    (fields.String(validate=validate.Length(min=2)), "a", {"code": "too_short", "min": 2}),
    (fields.String(validate=validate.Length(equal=2)), "a", {"code": "wrong_length", "equal": 2}),
    (fields.List(fields.Raw(), validate=validate.Length(min=1)), [], {"code": "too_few", "min": 1}),
    (fields.List(fields.Raw(), validate=validate.Length(max=1)), [1, 2], {"code": "too_many", "max": 1}),
    (fields.Integer(validate=validate.Range(min=1, max=9)), 0, {"code": "too_small", "min": 1, "max": 9}),
    (fields.Integer(validate=validate.Range(max=9)), 10, {"code": "too_large", "max": 9}),
    (fields.Integer(validate=validate.Range(min=1, min_inclusive=False)), 1, {"code": "too_small", "above": 1}),
    (fields.Integer(validate=validate.Range(max=1, max_inclusive=False)), 1, {"code": "too_large", "below": 1}),
    (fields.String(validate=validate.And(validate.Length(max=1))), "ab", {"code": "too_long", "max": 1}),
    # Words of one's own.
    (fields.String(validate=validate.Length(max=1, error="One letter.")), "ab", {"code": "too_long", "max": 1}),
    (
        fields.String(validate=validate.Length(max=1, error=Message("One letter.", "one_letter", per="car"))),
        "ab",
        {"code": "one_letter", "per": "car"},
    ),
    (fields.String(error_messages={"invalid": "Text!"}), 1, {"code": "invalid_type", "expected": "string"}),
    (fields.String(error_messages={"invalid": Message("Text!", "no_text")}), 1, {"code": "no_text"}),
    (Plate(), "M-1", {"code": "foreign_plate", "prefix": "B-"}),
    (Plate(), None, {"code": "not_null"}),
    (Plate(), 1, {"code": "invalid_type", "expected": "string"}),
    (fields.Integer(validate=refuse_odd), 1, {"code": "invalid"}),
    # The product's fields.
    (Text(max_length=3, min_length=1), "", {"code": "too_short", "min": 1, "max": 3}),
    (Text(max_length=3), "a" * 99, {"code": "too_long", "max": 3}),
    (Text(max_length=3), "\n", {"code": "forbidden_characters"}),
    (Text(max_length=3), "\ud800", {"code": "invalid_unicode"}),
    (Password(), "", {"code": "too_short", "min": 1, "max": 256}),
    (Email(), "ada", {"code": "invalid_email"}),
    (Limits(), "lots", {"code": "invalid_limits", "expected": ALLOWED_NOTATION}),
    (RoleLimits(), {str(number): None for number in range(101)}, {"code": "too_many", "max": 100}),
    (RoleLimits(), {"editor": "lots"}, {"code": "invalid_limits", "expected": ALLOWED_NOTATION}),
    (Cursor(), "a" * 5000, {"code": "invalid_cursor"}),
    (Whole(), "1.5", {"code": "invalid_integer"}),
    (WholeNumber(at_least=1), 0, {"code": "too_small", "min": 1, "max": 2**31 - 1}),
    (WholeNumber(), "1", {"code": "invalid_integer"}),
    (Flag(), 1, {"code": "invalid_type", "expected": "boolean"}),
    (QueryFlag(), "yes", {"code": "invalid_type", "expected": "boolean"}),
    (Instant(), "tomorrow", {"code": "invalid_datetime"}),
    (Date(), "20260101", {"code": "invalid_date"}),
    (Choice(Color), "green", {"code": "not_one_of", "choices": ["red", "blue"]}),
    (Amount(), 1, {"code": "invalid_type", "expected": "string", "example": "12.50"}),
    (Amount(), "a", {"code": "invalid_amount", "example": "12.50"}),
    (Amount(), "1.234", {"code": "too_many_digits", "digits": 12, "places": 2}),
    (Amount(at_least=1, at_most=9), "0.99", {"code": "too_small", "min": "1", "max": "9"}),
    (Amount(at_least=1, at_most=9), "9.01", {"code": "too_large", "min": "1", "max": "9"}),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value", "coded"), CASES)
def test_what_a_field_refuses_has_a_code(field: Any, value: Any, coded: dict[str, Any]) -> None:
    assert load(field, value) == [coded]


def test_each_of_several_messages_has_its_own() -> None:
    texts = fields.String(validate=[validate.Length(min=3), validate.Regexp("a"), validate.OneOf(["abc"])])
    assert [each["code"] for each in load(texts, "b")] == ["too_short", "wrong_form", "not_one_of"]


def test_the_words_are_those_that_marshmallow_has() -> None:
    for field, value, _ in CASES:
        body = {} if value is ma.missing else {"it": value}
        coded, plain = (base.from_dict({"it": field})().validate(body) for base in (Input, ma.Schema))
        if not isinstance(field, fields.Nested):
            assert flatten_messages(coded) == flatten_messages(plain)


def test_a_schema_tells_what_is_no_object_and_what_it_does_not_know() -> None:
    for body, code in (([], "invalid_type"), ({"x": 1}, "unknown")):
        (messages,) = flatten_messages(LineInput().validate(body)).values()
        assert [message.code for message in messages if isinstance(message, Message)] == [code]


def test_changes_and_schemas_that_look_at_their_own_fields_have_codes_too() -> None:
    class OwnInput(LineInput):
        def on_bind_field(self, field_name: str, field_obj: Any) -> None:
            del field_name, field_obj

    class LineUpdateInput(Changes, LineInput):
        pass

    for schema in (OwnInput(), LineUpdateInput()):
        (message,) = schema.validate({"text": 1})["text"]
        assert isinstance(message, Message)


def test_a_field_that_schemas_share_stays_as_it_was_declared() -> None:
    length = validate.Length(max=1)
    declared = fields.String(validate=length)
    load(declared, "ab")
    assert type(length.message_max) is str
    assert type(declared.error_messages["invalid"]) is str


def test_what_was_sent_is_no_parameter() -> None:
    secret = datetime.date(2026, 1, 1).isoformat()
    for field, _, _ in CASES:
        schema = Input.from_dict({"it": field})()
        messages = flatten_messages(schema.validate({"it": secret}))
        for message in (message for each in messages.values() for message in each):
            assert secret not in str(getattr(message, "parameters", {}))


def test_all_that_marshmallow_s_fields_and_validators_say_is_known() -> None:
    for owner in (each for _, each in inspect.getmembers(fields, inspect.isclass) if issubclass(each, fields.Field)):
        for key in vars(owner).get("default_error_messages", {}):
            # Its fields hold no other words: what has no code of its own here is one already.
            known = any((base, key) in FIELD_CODES for base in owner.__mro__)
            assert known or key in {"required", "format", "invalid_uuid", "invalid_ip", "invalid_ip_interface"} or (
                (owner, key) in {(fields.Url, "invalid"), (fields.Email, "invalid"), (fields.Enum, "unknown")}
                or owner.__name__ == "_TemporalField"
            ), (owner, key)  # fmt: skip
    told = {validate.Length, validate.Range, validate.OneOf, validate.Equal, validate.And, *VALIDATOR_CODES}
    validators = {
        each
        for _, each in inspect.getmembers(validate, inspect.isclass)
        if issubclass(each, validate.Validator) and each is not validate.Validator
    }
    # Only its author knows what a predicate asks.
    assert {each for each in validators if not told & set(each.__mro__)} == {validate.Predicate}
