"""Rows of any model, made from what its columns say."""

from __future__ import annotations

import datetime
import decimal
import enum
import itertools
import uuid
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import sqlalchemy as sa
from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from app.clock import now
from app.extensions import transaction
from app.models import User

Values = Mapping[type[Any], Mapping[str, Any]]
"""What columns are to hold where their types alone do not tell, by the model and the attribute."""

_BY_TYPE: Final[Mapping[type[Any], Callable[[int], Any]]] = MappingProxyType(
    {
        bool: lambda _: True,
        int: lambda number: number,
        float: float,
        decimal.Decimal: decimal.Decimal,
        datetime.datetime: lambda _: now(),
        datetime.date: lambda number: now().date() - datetime.timedelta(days=number),
        datetime.time: lambda _: datetime.time(12, 30),
        datetime.timedelta: lambda number: datetime.timedelta(seconds=number),
        uuid.UUID: lambda _: uuid.uuid4(),
        bytes: lambda number: f"bytes {number}".encode(),
        dict: lambda number: {"number": number},
        list: lambda number: [number],
    }
)


class Fault(Exception):
    """What an extension does wrong, and what to do."""


class RowNotMade(Fault):
    """A row of a model could not be made from what its columns say."""


class Rows:
    """Makes rows of models in one application's database."""

    def __init__(self, app: Flask, values: Values = MappingProxyType({})) -> None:
        self._app = app
        self._values = values
        self._numbers = itertools.count(1)

    def make(
        self,
        model: type[Any],
        *,
        user_id: uuid.UUID,
        parents_user_id: uuid.UUID | None = None,
        own: Mapping[str, Any] = MappingProxyType({}),
    ) -> Any:
        """Return a new row of ``model`` that refers to ``user_id``, with its parents.

        Those refer to ``parents_user_id``, unless that is None; ``own`` holds values of its attributes.

        Raises:
            RowNotMade: the database or the model refused it.
        """
        columns = sa.inspect(model).columns
        values = {**self._values.get(model, {}), **own}
        for column in columns:
            key = sa.inspect(model).get_property_by_column(column).key
            if key not in values:
                found, value = self._find_value(model, column, user_id, parents_user_id or user_id)
                if found:
                    values[key] = value
        try:
            with self._app.app_context(), transaction() as session:
                row = model(**values)
                session.add(row)
                session.flush()
                return row
        except (SQLAlchemyError, ValueError, TypeError) as error:
            raise RowNotMade(
                f"no row of {model.__name__} could be made from the types of its columns"
                f" ({str(error).splitlines()[0]}): give assert_extension values={{{model.__name__}: {{…}}}}"
                " with what it needs"
            ) from error

    def _find_value(
        self, model: type[Any], column: sa.Column[Any], user_id: uuid.UUID, parents_user_id: uuid.UUID
    ) -> tuple[bool, Any]:
        """Return whether a column is to be given a value, and which."""
        for key in column.foreign_keys:
            if key.column.table is User.__table__:
                return True, user_id
            parent = find_model(model, key.column.table)
            if parent is model or parent is None:
                return False, None  # a row of its own kind, or of a model of the product
            row = self.make(parent, user_id=parents_user_id)
            return True, getattr(row, sa.inspect(parent).get_property_by_column(key.column).key)
        is_counted = column.primary_key and column.autoincrement and column.type.python_type is int
        if column.default is not None or column.server_default is not None or column.computed or is_counted:
            return False, None
        return True, self._make_value(column.type)

    def _make_value(self, kind: sa.types.TypeEngine[Any]) -> Any:
        number = next(self._numbers)
        if issubclass(kind.python_type, enum.Enum):
            return next(iter(kind.python_type))
        kind = find_stored_type(kind)
        if isinstance(kind, sa.Enum):
            return next(iter(kind.enum_class)) if kind.enum_class else kind.enums[0]
        python_type = kind.python_type
        if python_type is str:
            # The number is at the end, and stays where the length is short: values differ.
            return f"text {number}"[-(getattr(kind, "length", None) or 100) :]
        return next((make(number) for type_, make in _BY_TYPE.items() if issubclass(python_type, type_)), None)


def find_stored_type(kind: sa.types.TypeEngine[Any]) -> sa.types.TypeEngine[Any]:
    """Return what a type is stored as, where it decorates another."""
    return find_stored_type(kind.impl_instance) if isinstance(kind, sa.types.TypeDecorator) else kind


def find_model(beside: type[Any], table: sa.FromClause) -> type[Any] | None:
    """Return the model of ``table``, of those that share a base with ``beside``."""
    mappers = sa.inspect(beside).registry.mappers
    return next((mapper.class_ for mapper in mappers if mapper.local_table is table), None)
