"""Whose a row is: the user that it refers to."""

import uuid
from typing import Any

import sqlalchemy as sa

from app.models import USERS_KEY, list_user_columns


def get_owner_column(model: type[Any]) -> sa.Column[uuid.UUID]:
    """Return the column of ``model`` that says whose a row is: its only foreign key to the users.

    A model with several of them names one in the attribute ``__owner__``.

    Raises:
        LookupError: it has none, or several of which none is named.
    """
    table: sa.Table = model.__table__
    names = [column.key for column in list_user_columns(table)]
    named: str | None = getattr(model, "__owner__", None)
    if named is not None:
        if named not in names:
            raise LookupError(f"{model.__name__}.__owner__ names {named}, which is no foreign key to {USERS_KEY}")
        return table.columns[named]
    if not names:
        raise LookupError(f"{model.__name__} has no foreign key to {USERS_KEY}, so its rows are nobody's own")
    if len(names) > 1:
        raise LookupError(f"{model.__name__} refers to users by {', '.join(names)}: name one of them in __owner__")
    return table.columns[names[0]]
