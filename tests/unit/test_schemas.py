"""The kinds of schemas."""

from __future__ import annotations

import copy

import pytest
from marshmallow import ValidationError, fields

from app.schemas import Changes, Input
from app.utils import Message


class MadeInput(Input):
    name = fields.String(required=True)
    color = fields.String(load_default="red")


class ChangedInput(Changes, MadeInput):
    pass


def test_changes_hold_what_is_given_and_nothing_else() -> None:
    assert ChangedInput().load({}) == {}
    assert ChangedInput().load({"color": "blue"}) == {"color": "blue"}
    assert MadeInput().load({"name": "Ada"}) == {"name": "Ada", "color": "red"}


def test_changes_are_checked_as_what_they_change() -> None:
    with pytest.raises(ValidationError, match="Not a valid string"):
        ChangedInput().load({"name": 1})
    with pytest.raises(ValidationError, match="Unknown field"):
        ChangedInput().load({"size": 1})


def test_a_message_is_copied_with_its_code() -> None:
    made = copy.deepcopy(Message("Use at most 9 tags.", "too_many", max=9))
    assert (made, made.code, made.parameters) == ("Use at most 9 tags.", "too_many", {"max": 9})
