"""The examples of the OpenAPI document: one for each field, the same everywhere.

A schema's example is made of its fields'. ``EXAMPLES`` holds a field's example wherever it occurs, ``EXCEPTIONS`` that
in one schema, or in the paths and queries of one tag.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

_ADA: Final = "019cadd4-c134-7c41-9a3e-5b0d2f6e8c17"
_ADAS_SESSION: Final = "019d22f0-5a18-7e63-b2c4-91d70a4f3e58"
_TOKEN: Final = "q3Yt0dWm7cPzVb2LrXk9JfHsA5nUe8QgTiO4yMwR1xE"  # noqa: S105 - nobody's
_INVITATION: Final = "019d2a11-3c40-7f31-9a02-5be0c7d1f384"
_JOINED: Final = "2026-03-02T09:15:27.412000Z"
_LATELY: Final = "2026-03-25T06:58:44.120000Z"
_IP: Final = "203.0.113.7"
_EMAIL: Final = "ada@example.com"
_PASSWORD: Final = "turnip lantern gravel osprey"  # noqa: S105 - nobody's

EXAMPLES: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "action": "user.registered",
        "actor": _ADA,
        "built_in": False,
        "busiest": [],
        "changed_at": _LATELY,
        "code": "402918",
        "configured": "10/minute;100/hour",
        "count": 12,
        "created_at": _JOINED,
        "csrf_token": "IjVhN2UxYzA5M2Yi.acOGxA.b1uG0nTq3mVYx5Kc7WjR2dLs8Pw",
        "current": True,
        "current_password": _PASSWORD,
        "cursor": "WyIyMDI2LTAzLTAyIl0",
        "database": "ok",
        "degraded": False,
        "deletion_due_at": "2026-04-01T09:17:03.008000Z",
        "description": "Edits what others wrote",
        "details": {},
        "email": _EMAIL,
        "email_verified_at": "2026-03-02T09:17:03.008000Z",
        "enabled": True,
        "expires_at": "2026-04-01T06:58:44.120000Z",
        "id": _ADA,
        "invitation": None,  # what is in it is refused unless it was made for the call; so is a proof of work
        "invitation_id": _INVITATION,
        "inviter": _ADA,
        "ip": _IP,
        "is_active": True,
        "key": f"account:{_EMAIL}",
        "language": "en",
        "last_login_at": _LATELY,
        "last_seen_at": _LATELY,
        "limit": 50,
        "limits": "10/minute;100/hour",
        "mfa_enabled": False,
        "minutes": 5,
        "name": "Ada Lovelace",
        "new_password": "marble anchor violet thimble",
        "next_cursor": "WyIyMDI2LTAzLTAyIl0",
        "password": _PASSWORD,
        "password_change_required": False,
        "permissions": ["users:read"],
        "proof_of_work": None,
        "purpose": "reset_password",
        "q": "ada",
        "ratelimit": "ok",
        "remember": True,
        "request_id": "019d22f0-6b02-7a10-8c55-d3e94f1b2a60",
        "role": "editor",
        "roles": ["user", "editor"],
        "session_id": _ADAS_SESSION,
        "since": "2026-03-01T00:00:00Z",
        "sort": "-created_at",
        "status": "ok",
        "target": _ADA,
        "token": _TOKEN,
        "units": 7,
        "until": "2026-04-01T00:00:00Z",
        "updated_at": _LATELY,
        "user_agent": "Mozilla/5.0 (X11; Linux x86_64; rv:148.0) Gecko/20100101 Firefox/148.0",
        "user_id": _ADA,
    }
)

EXCEPTIONS: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "AcceptedOutput": {"status": "accepted"},
        "AuditEntryOutput": {"id": "019cadd4-c140-7d02-a6f1-08b7c5e34d92"},
        "InvitationOutput": {"id": _INVITATION, "email": "grace@example.com"},
        "HeldOutput": {"limit": "10/minute"},
        "PermissionOutput": {"name": "users:read", "description": "See all users and their sessions"},
        "ProblemOutput": {
            "type": "urn:gatehouse:problem:invalid_input",
            "title": "Invalid input",
            "status": 422,
            "detail": "Some fields are wrong; see errors.",
            "code": "invalid_input",
            "errors": {"email": ["This is not an e-mail address."]},
            "error_codes": {"email": [{"code": "invalid_email"}]},
        },
        "RateLimitChangeInput": {"roles": {"editor": "60/minute"}},
        "RateLimitOutput": {"name": "login", "roles": {"editor": "60/minute"}},
        "RefusedOutput": {"key": f"address:{_IP}", "limit": "10/minute"},
        "RoleCreateInput": {"name": "editor"},
        "RoleOutput": {"name": "editor"},
        "SessionOutput": {"id": _ADAS_SESSION, "created_at": "2026-03-25T06:52:11.736000Z"},
        "ratelimits": {"name": "login"},
        "roles": {"name": "editor"},
        "users": {"name": "editor"},
    }
)
