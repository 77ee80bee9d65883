"""Handing out all users at once."""

from collections.abc import Iterator, Sequence
from typing import Final

from app.extensions import transaction
from app.security import Actor

from . import audit
from .users import ListedUser, list_users

PAGE: Final = 500


def walk_users(*, actor: Actor, with_hashes: bool) -> Iterator[Sequence[ListedUser]]:
    """Yield every user, page by page, the oldest first. That somebody took them goes into the audit trail first."""
    with transaction():
        audit.record("users.exported", actor=actor, with_hashes=with_hashes)
    cursor: str | None = None
    while True:
        page = list_users(limit=PAGE, cursor=cursor, with_hashes=with_hashes)
        yield page.items
        cursor = page.next_cursor
        if cursor is None:
            return
