"""The HTTP API, one blueprint a file and named as its file.

To add one, write a module with a ``blueprint`` and list it in ``BLUEPRINTS``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from . import audit, auth, docs, health, me, ratelimit, role, user

if TYPE_CHECKING:
    from app.http.openapi import Blueprint

BLUEPRINTS: Final[tuple[Blueprint, ...]] = (
    auth.blueprint,
    me.blueprint,
    user.blueprint,
    role.blueprint,
    ratelimit.blueprint,
    audit.blueprint,
    health.blueprint,
    docs.blueprint,
)
