"""What others write into the audit trail is found in it as ours is, and fits on every database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from uuid_utils.compat import uuid7

from app.extensions import transaction
from app.security import Actor
from app.services import audit

if TYPE_CHECKING:
    from flask import Flask


def test_an_action_of_others_is_found_by_its_name_and_by_its_target(app: Flask) -> None:
    target, action = uuid7(), "a" * 56 + ".created"
    with app.app_context():
        with transaction():
            audit.record(action, actor=Actor.system(), target=target, number="A-1")
            audit.record("invoice.created", actor=Actor.system(), target="x" * 64)
        (found,) = audit.list_entries(limit=5, action=action).items
        assert (found.target, found.details) == (str(target), {"number": "A-1"})
        assert [entry.action for entry in audit.list_entries(limit=5, target="x" * 64).items] == ["invoice.created"]


@pytest.mark.parametrize("action", ["created", "Invoice.created", "invoice.created now", "", "a" * 57 + ".created"])
def test_an_action_has_a_name_that_fits(app: Flask, action: str) -> None:
    with app.app_context(), transaction(), pytest.raises(ValueError, match=r"as invoice\.created is, in 64 characters"):
        audit.record(action, actor=Actor.system())


def test_a_target_that_is_too_long_is_refused_on_every_database(app: Flask) -> None:
    with app.app_context(), transaction(), pytest.raises(ValueError, match="has 65 characters, 64 at most"):
        audit.record("invoice.created", actor=Actor.system(), target="x" * 65)
