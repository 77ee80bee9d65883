"""Whether what an answer needs is there."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from app.extensions import db


def is_database_ready() -> bool:
    """Say whether the database answers."""
    try:
        with db.reading() as reading:
            reading.execute(sa.text("SELECT 1"))
    except SQLAlchemyError:
        return False
    return True
