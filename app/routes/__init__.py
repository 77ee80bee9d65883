"""The HTTP API, one blueprint a file and named as its file.

To add one, write a module with a ``blueprint`` and list it in ``BLUEPRINTS``.
"""

from typing import Final

from app.http.openapi import Blueprint

from . import audit, auth, docs, health, me, ratelimit, role, user

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
