"""What the author of an extension tests, with what they are given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from acme_notes import extension

if TYPE_CHECKING:
    from gatehouse.testing import AssertExtension, Browser, Factory


def test_the_extension_keeps_the_rules(assert_extension: AssertExtension) -> None:
    assert_extension(extension)


def test_a_note_that_was_written_is_listed(admin_browser: Browser) -> None:
    written = admin_browser.post("/api/v1/notes", {"text": "Buy milk"})
    assert written.status_code == 201
    assert admin_browser.get("/api/v1/notes").get_json()["items"] == [written.get_json()]


@pytest.mark.every_database
def test_whoever_may_read_may_not_write(factory: Factory) -> None:
    reader = factory.sign_in_with("notes:read")
    assert reader.get("/api/v1/notes").status_code == 200
    assert reader.post("/api/v1/notes", {"text": "Buy milk"}).status_code == 403


def test_a_page_of_notes_costs_one_query(admin_browser: Browser, assert_queries: Any) -> None:
    for number in range(3):
        admin_browser.post("/api/v1/notes", {"text": f"Note {number}"})
    with assert_queries(2):
        assert len(admin_browser.get("/api/v1/notes").get_json()["items"]) == 3
