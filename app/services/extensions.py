"""What happens to extensions, for the audit trail."""

from collections.abc import Sequence

from app.extensions import retried, transaction
from app.security import Actor

from . import audit


@retried
def record_removal(name: str, tables: Sequence[str], *, actor: Actor) -> None:
    """Record that an extension's tables were dropped."""
    with transaction():
        audit.record("extension.removed", actor=actor, target=name, tables=list(tables))
