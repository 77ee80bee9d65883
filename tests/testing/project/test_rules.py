"""Each rule about rows is seen to fail on an extension that breaks it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from acme_notes import extension
from acme_notes.models import Note, Pin

from gatehouse import Extension, db
from gatehouse.testing.rows import RowNotMade
from gatehouse.testing.rules.declarations import find_wrong_tables
from gatehouse.testing.rules.migrations import find_missing_migrations, find_wrong_migrations
from gatehouse.testing.rules.subject import Subject
from gatehouse.testing.rules.users import find_wrong_deletions, find_wrong_descriptions, find_wrong_exports

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable, Collection, Mapping

    from flask import Flask


@pytest.fixture
def hold(app: Flask) -> Callable[..., Subject]:
    """The extension as it is served, said to be another in some of its parts."""
    return lambda **parts: Subject(app, dataclasses.replace(extension, **parts), {})


@pytest.mark.parametrize(
    ("policies", "said"),
    [
        ({Note: "keep", Pin: "keep"}, "a Note is gone after its user's deletion"),
        ({Note: "delete", Pin: "delete"}, "a Pin was left when its user was deleted"),
        ({Note: "refuse", Pin: "keep"}, "wants to refuse, was answered 204 instead of 409"),
        ({Note: "delete"}, "Pin refers to users: say in on_user_deletion"),
    ],
)
def test_rows_with_another_end_than_was_said_are_found(
    policies: dict[type[Any], str], said: str, hold: Callable[..., Subject]
) -> None:
    faults = list(find_wrong_deletions(hold(on_user_deletion=policies)))
    assert [said in fault for fault in faults] == [True]


@pytest.mark.parametrize(
    ("export_user", "said"),
    [(None, "give export_user"), (lambda _: {}, "whether a user has rows of Note and Pin or none")],
)
def test_an_export_that_says_nothing_of_rows_is_found(
    export_user: object, said: str, hold: Callable[..., Subject]
) -> None:
    assert [said in fault for fault in find_wrong_exports(hold(export_user=export_user))] == [True]


def count_one_by_one(user_ids: Collection[uuid.UUID]) -> Mapping[uuid.UUID, Any]:
    count = sa.select(sa.func.count()).select_from(Note)
    return {user_id: db.session.scalar(count.where(Note.owner_id == user_id)) for user_id in user_ids}


def test_a_question_for_each_user_of_a_page_is_found(hold: Callable[..., Subject]) -> None:
    faults = list(find_wrong_descriptions(hold(describe_users=count_one_by_one)))
    assert ["1 queries for one user and 3 for three" in fault for fault in faults] == [True]


def test_a_row_that_cannot_be_made_is_told_with_what_to_give(app: Flask) -> None:
    subject = Subject(app, extension, {Note: {"text": None}})
    with pytest.raises(RowNotMade, match=r"give assert_extension values=\{Note: \{…\}\}"):
        list(find_wrong_deletions(subject))


def test_a_model_that_is_not_listed_is_found() -> None:
    faults = list(find_wrong_tables(dataclasses.replace(extension, models=(Note,))))
    assert ["acme_notes_pins belongs to no model" in fault for fault in faults] == [True]


def test_models_without_migrations_are_found() -> None:
    assert list(find_missing_migrations(dataclasses.replace(extension, migrations=None)))


def test_a_model_that_no_migration_makes_is_found(
    make_app: Callable[..., Flask], make_database: Callable[..., str], tmp_path: Any
) -> None:
    lacking: Extension = dataclasses.replace(extension, migrations=tmp_path)
    assert extension.migrations is not None
    first = extension.migrations / "0001_notes.py"
    (tmp_path / first.name).write_text(first.read_text())
    app = make_app(DATABASE_URL=make_database(is_migrated=False))
    app.extensions["extending"].listed = (lacking,)
    faults = list(find_wrong_migrations(app, lacking))
    assert any("add table acme_notes_pins" in fault for fault in faults), faults
