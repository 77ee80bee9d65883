"""Whether what an answer needs is there."""

from __future__ import annotations

from typing import Final

from app.database import Health, probe
from app.extensions import db

PATIENCE_MS: Final = 2_500


def look_at_database(*, is_patient: bool = False) -> Health:
    """Say how the database is: in a tenth of a second at most, or as late as a first connection may take."""
    return probe(db.engine, timeout_ms=PATIENCE_MS) if is_patient else probe(db.engine)
