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
    """The name of its package, such as ``acme_invoices``: what it owns begins with it.

    Its tables ``acme_invoices`` and ``acme_invoices_…``, its blueprints likewise, its settings ``ACME_INVOICES_…``. At
    most 30 small letters, digits and single ``_``; the first word is none that the product keeps for itself.
    """
    version: str
    face: int
    """The number of the face that it is written for: ``gatehouse.FACE`` of that time."""
    needs_product: str | None = None
    """The product's migration that its own first one builds on."""
    models: Sequence[type[Any]] = ()
    blueprints: Sequence[Blueprint] = ()
    permissions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """What each allows, in a few words, by its name: ``{"invoices:read": "See all invoices"}``.

    The first word is none of the product's. What roles hold of it counts for nothing while the extension is not listed.
    """
    settings: type[Any] | None = None
    """A frozen dataclass of ``setting(...)``: its field ``currency`` is read from ``ACME_INVOICES_CURRENCY``.

    ``get_settings`` of the class returns them. An unknown name with that beginning stops the start.
    """
    limits: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Its limits by their names: ``{"export": "10/minute"}`` is the default of ``RATELIMIT_ACME_INVOICES_EXPORT``."""
    commands: Sequence[click.Command] = ()
    """They run in the application's context; none has a name of the product's."""
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
    """Returns what is wrong with it, or None; ``/readyz`` asks it, in a thread, and waits for a second at most.

    What it returns goes into the log; ``/readyz`` only says ``failing``.
    """
