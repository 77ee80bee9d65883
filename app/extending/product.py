"""What the product itself has, as extensions are checked against it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from flask import Blueprint
from sqlalchemy.orm import DeclarativeBase

from app.ratelimit import Limits
from app.ratelimit.rules import RoleLimits

PRODUCT: Final = "Gatehouse"
"""What the product is called where two owners are named."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """What the product has, and what was set for all."""

    surroundings: Mapping[str, str]
    """What is set and no setting of the product's."""
    role_limits: RoleLimits | None
    limits: Mapping[str, Limits]
    base: type[DeclarativeBase]
    tables: Collection[str]
    users: str
    """The table of the users."""
    blueprints: Sequence[Blueprint]
    blueprint_class: type[Blueprint]
    list_names: Callable[[Any], Iterable[tuple[str, str]]]
    """What a blueprint's operations and resources are called, each with its kind."""
    find_guard: Callable[[object], Any]
    list_commands: Callable[[], Collection[str]]
    """Asked only where extensions have commands: to import the product's takes time."""
