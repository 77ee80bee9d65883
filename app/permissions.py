"""The permissions there are, declared in one place.

To add one, add a line; guards (``@requires("…")``), roles and ``GET /api/v1/permissions`` know it from then on, and the
built-in role ``admin`` holds it at once.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

PERMISSIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "audit:read": "Read the audit trail",
        "roles:assign": "Give roles to users and take them away",
        "roles:read": "See roles and permissions",
        "roles:write": "Create, change and delete roles",
        "users:read": "See all users and their sessions",
        "users:write": "Create, change, deactivate and delete users, end their sessions",
    }
)

ADMIN_ROLE: Final = "admin"
USER_ROLE: Final = "user"
BUILT_IN_ROLES: Final = frozenset({ADMIN_ROLE, USER_ROLE})
