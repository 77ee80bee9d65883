"""What happens to extensions, for the audit trail."""

from collections.abc import Sequence

from app.extensions import retried, transaction
from app.security import Actor

from . import audit


@retried
def record_removal(name: str, tables: Sequence[str], *, actor: Actor, is_done: bool) -> None:
    """Record that an extension's tables were dropped; or, not ``is_done``, that they are about to be."""
    with transaction():
        audit.record(
            "extension.removed" if is_done else "extension.removal_started",
            actor=actor,
            target=name,
            tables=list(tables),
        )
