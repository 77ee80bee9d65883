"""Callers without the permission reach their own rows, and learn nothing of those of others."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from flask import Response
from marshmallow import fields
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from uuid_utils.compat import uuid7

from app import create_app
from app.config import Settings
from app.extending import Extension
from app.extensions import transaction
from app.http.openapi import Blueprint
from app.models import Base, User
from app.schemas import Input, Output, PageQuery
from app.schemas.values import Text
from app.security import find_guard, get_owner_column, requires
from app.services.cursors import Sort
from app.services.pages import Listing
from app.services.rows import claim, get_row, owned_by, refuse_to_give_away
from gatehouse.testing.factories import Factory
from gatehouse.testing.fixtures import close

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from flask import Flask

    from gatehouse.testing.factories import Browser

NOTES = "/api/v1/notes"


class Local(DeclarativeBase):
    # Not in the product's own metadata, whose tables the tests of migrations compare.
    metadata = sa.MetaData(naming_convention=Base.metadata.naming_convention)


class Note(Local):
    __tablename__ = "notes"

    id: Mapped[uuid.UUID] = mapped_column(sa.Uuid(), primary_key=True, default=uuid7)
    author_id: Mapped[uuid.UUID] = mapped_column(sa.Uuid(), sa.ForeignKey(User.__table__.c.id, ondelete="CASCADE"))
    text: Mapped[str] = mapped_column(sa.String(100))


class NoteInput(Input):
    text = Text(max_length=100)
    author_id = fields.UUID()


class NoteOutput(Output):
    id = fields.UUID(required=True)
    author_id = fields.UUID(required=True)
    text = fields.String(required=True)


class NotePageOutput(Output):
    items = fields.List(fields.Nested(NoteOutput), required=True)
    next_cursor = fields.String(required=True, allow_none=True)


LISTING: Listing[Any] = Listing(sa.select(*Note.__table__.columns), filters={"owner": owned_by(Note)})
OLDEST_FIRST = Sort("id", Note.id, Note.id, is_unique=True)


def make_blueprint() -> Blueprint:
    blueprint = Blueprint("notes", __name__, url_prefix=NOTES, description="Notes")

    @blueprint.route("")
    @blueprint.response(200, NotePageOutput)
    @blueprint.arguments(PageQuery, location="query")
    @requires("notes:read", or_own=Note)
    def list_notes(query: dict[str, Any], *, owner: uuid.UUID | None) -> Any:
        """List notes."""
        return LISTING.get_page(OLDEST_FIRST, **{"cursor": None} | query, owner=owner)

    @blueprint.route("", methods=["POST"])
    @blueprint.response(201, NoteOutput)
    @blueprint.arguments(NoteInput)
    @requires("notes:write", or_own=Note)
    def create_note(body: dict[str, Any], *, owner: uuid.UUID | None) -> Any:
        """Write a note."""
        with transaction() as writing:
            note = Note(**claim(Note, body, owner=owner))
            writing.add(note)
        return note

    @blueprint.route("/<uuid:note_id>")
    @blueprint.response(200, NoteOutput)
    @requires("notes:read", or_own=Note)
    def get_note(note_id: uuid.UUID, *, owner: uuid.UUID | None) -> Any:
        """Get a note."""
        return get_row(Note, note_id, owner=owner)

    @blueprint.route("/<uuid:note_id>", methods=["PATCH"])
    @blueprint.response(200, NoteOutput)
    @blueprint.arguments(NoteInput)
    @requires("notes:write", or_own=Note)
    def update_note(body: dict[str, Any], note_id: uuid.UUID, *, owner: uuid.UUID | None) -> Any:
        """Change a note."""
        with transaction():
            note = get_row(Note, note_id, owner=owner, is_locked=True)
            refuse_to_give_away(Note, body, owner=owner)
            for name, value in body.items():
                setattr(note, name, value)
        return note

    @blueprint.route("/<uuid:note_id>", methods=["DELETE"])
    @blueprint.response(204)
    @requires("notes:write", or_own=Note)
    def delete_note(note_id: uuid.UUID, *, owner: uuid.UUID | None) -> Response:
        """Delete a note."""
        with transaction() as writing:
            writing.delete(get_row(Note, note_id, owner=owner, is_locked=True))
        return Response(status=204)

    return blueprint


@pytest.fixture
def app(environ: dict[str, str]) -> Iterator[Flask]:
    extension = Extension(
        name="notes",
        version="1",
        face=1,
        blueprints=[make_blueprint()],
        permissions={"notes:read": "See all notes", "notes:write": "Change all notes"},
    )
    app = create_app(Settings.from_environ(environ), [extension])
    with app.app_context(), transaction() as writing:
        Note.__table__.create(writing.connection())  # type: ignore[attr-defined] # a Table
    yield app
    with app.app_context(), transaction() as writing:
        Note.__table__.drop(writing.connection())  # type: ignore[attr-defined] # likewise
    close(app)


@pytest.fixture
def sign_in(factory: Factory) -> Callable[..., tuple[Any, Browser]]:
    """Return a user who holds these permissions, and the browser that they signed in with."""

    def sign_in(*permissions: str) -> tuple[Any, Browser]:
        user = factory.user(roles=[factory.role(*permissions).name] if permissions else [])
        return user, factory.sign_in(user)

    return sign_in


def write(browser: Browser, text: str, **values: str) -> dict[str, Any]:
    response = browser.post(NOTES, {"text": text} | values)
    assert response.status_code == 201, response.text
    note: dict[str, Any] = response.get_json()
    return note


def list_texts(browser: Browser) -> list[str]:
    return [note["text"] for note in browser.get(NOTES).get_json()["items"]]


def test_a_caller_without_the_permission_reaches_own_rows_only(sign_in: Callable[..., tuple[Any, Browser]]) -> None:
    ada, adas = sign_in()
    _, bobs = sign_in()
    note = write(adas, "Ada's")
    write(bobs, "Bob's")
    path = f"{NOTES}/{note['id']}"
    assert note["author_id"] == str(ada.id)
    assert (list_texts(adas), list_texts(bobs)) == (["Ada's"], ["Bob's"])
    nowhere = bobs.get(f"{NOTES}/{uuid7()}")
    for response in (bobs.get(path), bobs.patch(path, {"text": "Bob's now"}), bobs.delete(path)):
        # As of a note that there is not: that there is one is not told.
        assert response.status_code == nowhere.status_code == 404
        assert response.get_json() | {"request_id": 0} == nowhere.get_json() | {"request_id": 0}
    assert adas.get(path).get_json()["text"] == "Ada's"
    assert adas.patch(path, {"text": "changed"}).get_json()["text"] == "changed"
    assert adas.delete(path).status_code == 204
    assert list_texts(adas) == []


@pytest.mark.parametrize(
    ("permissions", "reads", "writes"),
    [
        ((), False, False),
        (("notes:read",), True, False),
        (("notes:write",), False, True),
        (("notes:read", "notes:write"), True, True),
    ],
)
def test_each_permission_opens_the_rows_of_others_to_what_it_is_for(
    sign_in: Callable[..., tuple[Any, Browser]], permissions: tuple[str, ...], *, reads: bool, writes: bool
) -> None:
    ada, adas = sign_in()
    _, browser = sign_in(*permissions)
    path = f"{NOTES}/{write(adas, 'Ada')['id']}"
    assert list_texts(browser) == (["Ada"] if reads else [])
    assert browser.get(path).status_code == (200 if reads else 404)
    assert browser.patch(path, {"text": "Eve"}).status_code == (200 if writes else 404)
    given = browser.post(NOTES, {"text": "given", "author_id": str(ada.id)})
    assert given.status_code == (201 if writes else 403)
    assert browser.delete(path).status_code == (204 if writes else 404)
    assert list_texts(adas) == (["given"] if writes else ["Ada"])


def test_nobody_gives_a_row_away_or_takes_one_without_the_permission(
    sign_in: Callable[..., tuple[Any, Browser]],
) -> None:
    ada, adas = sign_in()
    bob, bobs = sign_in()
    path = f"{NOTES}/{write(adas, 'Ada')['id']}"
    response = adas.patch(path, {"author_id": str(bob.id)})
    assert (response.status_code, response.get_json()["code"]) == (403, "permission_missing")
    # That one may keep one's own is no way to learn of others'.
    assert bobs.patch(path, {"author_id": str(bob.id)}).status_code == 404
    assert adas.patch(path, {"author_id": str(ada.id)}).status_code == 200
    assert list_texts(bobs) == []


def test_whoever_may_write_for_all_says_whose_a_row_is(sign_in: Callable[..., tuple[Any, Browser]]) -> None:
    _, browser = sign_in("notes:write")
    response = browser.post(NOTES, {"text": "whose?"})
    assert (response.status_code, list(response.get_json()["errors"])) == (422, ["author_id"])


def test_a_stranger_reaches_nothing(app: Flask) -> None:
    for method in ("GET", "POST"):
        assert app.test_client().open(NOTES, method=method, json={}).status_code == 401


# --- what is refused at declaration ---


def view(*, owner: uuid.UUID | None) -> None:
    """Stand for a view."""


def make_model(**columns: Any) -> type[Any]:
    """Return a model with these columns, some of them references to users."""

    class Fresh(DeclarativeBase):
        pass

    made: Mapping[str, Any] = {"__tablename__": "made", "id": mapped_column(sa.Integer, primary_key=True)}
    return type("Made", (Fresh,), {**made, **columns})


def refer() -> Any:
    return mapped_column(sa.Uuid(), sa.ForeignKey(User.__table__.c.id))


@pytest.mark.no_database
def test_a_view_that_takes_no_owner_is_refused() -> None:
    guard = requires("notes:read", or_own=Note)
    forgotten: list[Callable[..., Any]] = [
        lambda: None,
        lambda **_values: None,
        lambda owner: owner,
        lambda *, owner=None: owner,
    ]
    for each in forgotten:
        with pytest.raises(LookupError, match=r"give it the parameter `\*, owner: uuid.UUID | None`"):
            guard(each)
    assert (found := find_guard(guard(view))) is not None
    assert found.or_own is Note


@pytest.mark.no_database
def test_own_rows_need_a_permission_that_reaches_all_of_them() -> None:
    with pytest.raises(LookupError, match="needs a permission beside it"):
        requires(or_own=Note)


@pytest.mark.no_database
def test_whose_a_row_is_must_be_clear() -> None:
    assert get_owner_column(Note) is Note.__table__.c.author_id
    with pytest.raises(LookupError, match="nobody's own"):
        requires("notes:read", or_own=make_model())
    with pytest.raises(LookupError, match="by author_id, reader_id: name one of them in __owner__"):
        requires("notes:read", or_own=make_model(author_id=refer(), reader_id=refer()))
    named = make_model(author_id=refer(), reader_id=refer(), __owner__="reader_id")
    assert get_owner_column(named).key == "reader_id"
    with pytest.raises(LookupError, match="no foreign key"):
        requires("notes:read", or_own=make_model(author_id=refer(), __owner__="id"))


@pytest.mark.no_database
def test_a_list_refuses_an_owner_that_it_does_not_filter_by() -> None:
    listing: Listing[Any] = Listing(sa.select(*Note.__table__.columns), filters={})
    with pytest.raises(LookupError, match="no filter owner"):
        listing.get_page(OLDEST_FIRST, limit=1, cursor=None, owner=uuid7())
