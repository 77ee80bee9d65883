"""The fields for amounts, choices, dates and whole numbers: what each takes and refuses, and how it is described."""

from __future__ import annotations

import decimal
import enum
from typing import Any, Final

import pytest
from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin

from app.schemas import Input, Output
from app.schemas.values import Amount, Choice, Date, QueryFlag, WholeNumber


class Color(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class Form(Input):
    """One field of each kind."""

    amount = Amount()
    small = Amount(digits=5, places=0, at_least=0, at_most=500)
    maybe = Amount(allow_none=True)
    share = Amount(digits=2, places=2)
    color = Choice(Color)
    day = Date()
    count = WholeNumber(at_least=1, at_most=5)
    wide = WholeNumber()
    flag = QueryFlag()


class Shown(Output):
    """What is dumped of them."""

    amount = Amount(required=True)
    small = Amount(digits=5, places=0, required=True)
    color = Choice(Color, required=True)
    day = Date(required=True, allow_none=True)


RIGHT: Final[dict[str, list[tuple[Any, str]]]] = {
    "amount": [("12.5", "12.50"), ("-0", "0.00"), ("-9999999999.99", "-9999999999.99"), ("007.1", "7.10")],
    "small": [("0", "0"), ("500", "500")],
    "maybe": [(None, "None")],
    "share": [("0.5", "0.50"), ("-0.99", "-0.99"), ("0", "0.00")],
    "color": [("red", "red")],
    "day": [("2024-02-29", "2024-02-29"), ("0001-01-01", "0001-01-01")],
    "count": [(1, "1"), (5, "5")],
    "wide": [(-(2**31), str(-(2**31)))],
    "flag": [("true", "True"), ("false", "False")],
}
WRONG: Final[dict[str, list[Any]]] = {
    "amount": [
        12, 12.5, True, None, [], {}, "", " 1", "1 ", "+1", "1.", ".5", "1.234", "99999999999", "1e5", "NaN",
        "Infinity", "0x1", "1,5", "1_0", "\u0661", "\uff11", "1\n", "--1", "9" * 5000,
    ],
    "small": ["-1", "501", "1.0", "100000"],
    "maybe": [1],
    "share": ["1", "1.00", "00.5", ".5", "0.999"],
    "color": ["RED", "purple", "", 1, None, ["red"]],
    "day": ["2026-02-30", "20260131", "2026-W05-6", "2026-1-31", "2026-01-31T00:00:00", "", 5, None, "2026-01-31\n"],
    "count": [0, 6, 1.0, "1", True, None, 10**400],
    "wide": [2**31, -(2**31) - 1],
    "flag": ["True", "1", "yes", "", None],
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_right_is_taken_and_means_one_thing(name: str) -> None:
    for value, loaded in RIGHT[name]:
        assert str(Form().load({name: value})[name]) == loaded


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_refused_in_words(name: str) -> None:
    for value in WRONG[name]:
        messages = Form().validate({name: value})
        assert list(messages) == [name], value
        assert all(message.endswith(".") for message in messages[name]), (value, messages)


def test_a_number_where_an_amount_belongs_is_told_why() -> None:
    (message,) = Form().validate({"amount": 12.5})["amount"]
    assert message == 'Send this as text with a point, such as "12.50": programs round numbers.'
    assert Form().validate({"amount": "1.234"})["amount"] == ["At most 12 digits, 2 of them behind the point."]
    assert Form().validate({"small": "501"})["small"] == ["This must be from 0 to 500."]


def test_what_is_dumped_is_what_is_taken() -> None:
    row = {"amount": decimal.Decimal(5), "small": decimal.Decimal(7), "color": Color.BLUE, "day": None}
    assert Shown().dump(row) == {"amount": "5.00", "small": "7", "color": "blue", "day": None}


def test_the_document_says_of_each_what_it_takes() -> None:
    document = APISpec("", "", "3.1.0", plugins=[MarshmallowPlugin()])
    document.components.schema("Form", schema=Form)
    described = document.to_dict()["components"]["schemas"]["Form"]["properties"]
    assert described["amount"]["pattern"] == r"^-?[0-9]{1,10}(\.[0-9]{1,2})?$"
    assert described["small"]["pattern"] == "^-?[0-9]{1,5}$"
    assert (described["amount"]["type"], described["amount"]["example"]) == ("string", "12.50")
    assert described["small"]["description"] == "From 0 to 500."
    assert described["color"]["enum"] == ["red", "blue"]
    assert described["day"]["format"] == "date"
    assert (described["count"]["minimum"], described["count"]["maximum"]) == (1, 5)
