"""The doors: one blueprint a file.

To add one, write a module with a ``blueprint`` and name it in ``BLUEPRINTS``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from . import audit, auth, docs, health, ratelimit, role, session, user

if TYPE_CHECKING:
    from app.http.openapi import Blueprint

BLUEPRINTS: Final[tuple[Blueprint, ...]] = (
    auth.blueprint,
    session.blueprint,
    user.blueprint,
    role.blueprint,
    ratelimit.blueprint,
    audit.blueprint,
    health.blueprint,
    docs.blueprint,
)
