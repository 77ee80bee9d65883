"""What an extension is."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import click
from flask import Blueprint

FACE: Final = 1
"""The number of what ``gatehouse`` offers; it grows when something is taken away or means something else."""

OnUserDeletion: TypeAlias = Literal["keep", "refuse", "delete"]
Json: TypeAlias = Any


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Extension:
    """All that one package adds to the product; each part may be left out.

    Making one registers nothing: an application has what its own list of extensions names.
    """

    name: str
    """The name of its package, such as ``acme_invoices``: its tables, settings, limits and commands begin with it."""
    version: str
    face: int
    """The number of the face that it is written for: ``gatehouse.FACE`` of that time."""
    needs_product: str | None = None
    """The product's migration that its own first one builds on."""
    models: Sequence[type[Any]] = ()
    blueprints: Sequence[Blueprint] = ()
    permissions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """What each allows, in a few words, by its name: ``{"invoices:read": "See all invoices"}``."""
    settings: type[Any] | None = None
    """A frozen dataclass of ``setting(...)``: its field ``currency`` is read from ``ACME_INVOICES_CURRENCY``."""
    limits: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Its limits by their names: ``{"export": "10/minute"}`` is the default of ``RATELIMIT_ACME_INVOICES_EXPORT``."""
    commands: Sequence[click.Command] = ()
    migrations: Path | None = None
    """The folder of its migrations, a lineage of its own."""
    on_user_deletion: Mapping[type[Any], OnUserDeletion] = dataclasses.field(default_factory=dict)
    """What becomes of the rows that refer to a user who is deleted, for each model that does.

    ``keep`` empties the reference, ``refuse`` refuses the deletion, ``delete`` deletes the rows too.
    """
    export_user: Callable[[uuid.UUID], Json] | None = None
    """Returns what it stores about a user, as JSON can hold it, for the user's own export."""
    describe_users: Callable[[Collection[uuid.UUID]], Mapping[uuid.UUID, Json]] | None = None
    """Returns what stands under ``extensions.NAME`` in the JSON of each of these users; asked once for a page."""
    check_health: Callable[[], str | None] | None = None
    """Returns what is wrong with it, or None; ``/readyz`` asks it."""
