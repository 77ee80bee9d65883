"""Rows of any model: found by their key, and whose they are. A caller's own rows are all that others' look like."""

import uuid
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import sqlalchemy as sa

from app.extensions import db
from app.security import PermissionMissing, get_owner_column
from app.utils import InvalidInput, Message, NotFound

Model = TypeVar("Model")


def get_row(
    model: type[Model],
    key: object,
    *,
    owner: uuid.UUID | None,
    missing: Callable[[], Exception] = NotFound,
    is_locked: bool = False,
) -> Model:
    """Return the row of ``model`` with this primary key, ``owner``'s unless that is None.

    With ``is_locked`` nobody else changes it until the transaction ends: what is to be changed or deleted. Somebody
    else's row is refused as one that is not there: that it exists is not told.

    Raises:
        NotFound: or ``missing``, as there is no such row.
        LookupError: there is an owner, and the model does not say whose its rows are.
    """
    (primary_key,) = sa.inspect(model, raiseerr=True).primary_key
    query = sa.select(model).where(primary_key == key)
    if owner is not None:
        query = query.where(get_owner_column(model) == owner)
    if is_locked:
        query = query.with_for_update(of=model).execution_options(populate_existing=True)
    row = db.session.scalars(query).one_or_none()
    if row is None:
        raise missing()
    return row


def owned_by(model: type[Any]) -> Callable[[Any], sa.ColumnElement[bool]]:
    """Return the filter of a ``Listing`` of ``model`` that leaves the rows of one owner.

    Raises:
        LookupError: the model does not say whose its rows are.
    """
    column = get_owner_column(model)
    return lambda owner: column == owner


def claim(model: type[Any], values: Mapping[str, Any], *, owner: uuid.UUID | None) -> dict[str, Any]:
    """Return the ``values`` of a new row of ``model``, which is ``owner``'s unless that is None.

    Raises:
        PermissionMissing: they make it another's.
        InvalidInput: nobody says whose it is.
    """
    refuse_to_give_away(model, values, owner=owner)
    column = get_owner_column(model)
    if owner is not None:
        return {**values, column.key: owner}
    if column.key not in values and not column.nullable:
        raise InvalidInput(errors={column.key: [Message("Say whose this is.", "required")]})
    return dict(values)


def refuse_to_give_away(model: type[Any], values: Mapping[str, Any], *, owner: uuid.UUID | None) -> None:
    """Refuse ``values`` that make a row of ``model`` another's than ``owner``'s; None may make it anybody's.

    Raises:
        PermissionMissing: they do.
    """
    name = get_owner_column(model).key
    if owner is not None and values.get(name, owner) != owner:
        raise PermissionMissing(f"Without the permission, {name} can only be your own id. Leave it out.")


def check_reference(model: type[Any], key: object, *, field: str) -> None:
    """Refuse a ``field`` that refers to a row of ``model`` which is not there; it stays until the transaction ends.

    Raises:
        InvalidInput: naming the field.
    """
    (primary_key,) = sa.inspect(model, raiseerr=True).primary_key
    query = sa.select(primary_key).where(primary_key == key).with_for_update(read=True)
    if db.session.execute(query).one_or_none() is None:
        raise InvalidInput(errors={field: [Message("There is nothing with this id.", "not_found")]})
