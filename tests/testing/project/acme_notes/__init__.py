"""Notes, and who pinned them."""

import uuid
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from gatehouse import FACE, Extension, db

from .models import Note, Pin
from .routes import blueprint


def export_user(user_id: uuid.UUID) -> Any:
    """Return the user's notes, and what the user pinned."""
    notes = db.session.scalars(sa.select(Note.text).where(Note.owner_id == user_id))
    pins = db.session.scalars(sa.select(Pin.note_id).where(Pin.user_id == user_id))
    return {"notes": list(notes), "pinned": [str(note_id) for note_id in pins]}


def describe_users(user_ids: Collection[uuid.UUID]) -> Mapping[uuid.UUID, Any]:
    """Return how many notes each user has."""
    counts = sa.select(Note.owner_id, sa.func.count()).where(Note.owner_id.in_(user_ids)).group_by(Note.owner_id)
    return {user_id: {"notes": count} for user_id, count in db.session.execute(counts)}


extension = Extension(
    name="acme_notes",
    version="1.0",
    face=FACE,
    models=(Note, Pin),
    blueprints=(blueprint,),
    permissions={"notes:read": "See all notes", "notes:write": "Change all notes"},
    migrations=Path(__file__).parent / "migrations",
    on_user_deletion={Note: "delete", Pin: "keep"},
    export_user=export_user,
    describe_users=describe_users,
)
