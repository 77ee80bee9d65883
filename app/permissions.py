"""The product's own permissions, declared in one place; an application's are these and its extensions'.

To add one, add a line; guards (``@requires("…")``), roles and ``GET /api/v1/permissions`` know it from then on, and the
built-in role ``admin`` holds it at once.
"""

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

PERMISSIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "audit:read": "Read the audit trail",
        "invitations:read": "See who is invited",
        "invitations:write": "Invite people, send invitations again and withdraw them",
        "outbox:read": "See which mails wait, were sent or were given up, and to whom",
        "outbox:write": "Send mails again that were given up",
        "ratelimits:read": "See the rate limits, whom they count and whom they refused",
        "ratelimits:write": "Change rate limits, those that guard administrators included, and clear what they counted",
        "roles:assign": "Give roles to users and take them away",
        "roles:read": "See roles and permissions",
        "roles:write": "Create, change and delete roles",
        "users:read": "See all users and their sessions",
        "users:write": "Create, change, deactivate and delete users, end their sessions",
    }
)

# What a role may be called.
ROLE_NAME_PATTERN: Final = "^[a-z][a-z0-9_-]*$"
ROLE_NAME_MAX_LENGTH: Final = 64

ADMIN_ROLE: Final = "admin"
USER_ROLE: Final = "user"
BUILT_IN_ROLES: Final = frozenset({ADMIN_ROLE, USER_ROLE})


def is_role_name(text: str) -> bool:
    """Say whether a role could be called ``text``."""
    # Python's $ also matches before a final line feed.
    return len(text) <= ROLE_NAME_MAX_LENGTH and re.fullmatch(ROLE_NAME_PATTERN.strip("^$"), text) is not None


def find_allowed(role: str, granted: Iterable[str], declared: frozenset[str]) -> frozenset[str]:
    """Return what a role allows to which ``granted`` was given, of all that is ``declared``; ``admin`` allows all.

    What a later release or another extension declares is included, what is declared no longer is left out.
    """
    return declared if role == ADMIN_ROLE else declared.intersection(granted)
