"""The HTTP API."""

import uuid
from typing import Any

import sqlalchemy as sa
from flask import Response
from marshmallow import fields

from gatehouse import (
    Blueprint,
    Input,
    InvalidCursor,
    Listing,
    NotFound,
    Output,
    PageQuery,
    Sort,
    Text,
    db,
    get_actor,
    requires,
    retried,
    transaction,
)

from .models import TEXT_MAX_LENGTH, Note

blueprint = Blueprint("acme_notes", __name__, url_prefix="/api/v1/notes", description="Notes")
_SORT = Sort("created_at", Note.created_at, Note.id)
_NOTES: Listing[Note] = Listing(sa.select(Note), filters={})


class NoteNotFound(NotFound):
    """There is no such note."""

    detail = "There is no note with this id."


class NoteInput(Input):
    """A new note."""

    text = Text(required=True, min_length=1, max_length=TEXT_MAX_LENGTH, metadata={"example": "Buy milk"})


class NoteOutput(Output):
    """A note."""

    id = fields.UUID(required=True)
    owner_id = fields.UUID(required=True)
    text = fields.String(required=True)


class NotePageOutput(Output):
    """A page of notes."""

    items = fields.List(fields.Nested(NoteOutput), required=True)
    next_cursor = fields.String(required=True, allow_none=True)


@retried
def _add_note(text: str) -> Note:
    with transaction() as session:
        note = Note(text=text, price=0, owner_id=get_actor().user_id)
        session.add(note)
    return note


@retried
def _get_note(note_id: uuid.UUID) -> Note:
    note = db.session.get(Note, note_id)
    if note is None:
        raise NoteNotFound
    return note


@retried
def _delete_note(note_id: uuid.UUID) -> None:
    with transaction() as session:
        session.delete(_get_note(note_id))


@blueprint.route("")
@blueprint.response(200, NotePageOutput)
@blueprint.arguments(PageQuery, location="query")
@blueprint.raises(InvalidCursor)
@requires("notes:read")
def list_notes(query: dict[str, Any]) -> Any:
    """List all notes."""
    return _NOTES.get_page(_SORT, limit=query["limit"], cursor=query.get("cursor"))


@blueprint.route("", methods=["POST"])
@blueprint.response(201, NoteOutput)
@blueprint.arguments(NoteInput)
@requires("notes:write")
def create_note(body: dict[str, Any]) -> Any:
    """Write a note."""
    return _add_note(**body)


@blueprint.route("/<uuid:note_id>")
@blueprint.response(200, NoteOutput)
@blueprint.raises(NoteNotFound)
@requires("notes:read")
def get_note(note_id: uuid.UUID) -> Any:
    """Get a note."""
    return _get_note(note_id)


@blueprint.route("/<uuid:note_id>", methods=["DELETE"])
@blueprint.response(204)
@blueprint.raises(NoteNotFound)
@requires("notes:write")
def delete_note(note_id: uuid.UUID) -> Response:
    """Delete a note."""
    _delete_note(note_id)
    return Response(status=204)
