"""Every template, with an example of all that it is given: for previews and tests, and to look the names up.

``expires_in`` is in seconds, ``at`` and ``due_at`` are instants in ISO 8601, and ``user_agent`` is as the browser sent
it: they are shown in the recipient's words.
"""

from collections.abc import Mapping
from typing import Final

from .texts import Context

_TOKEN: Final = "Wm9yYmFzIHRoZSBjYXQgaGFzIGEgdG9rZW4gaGVyZS4"  # noqa: S105 - nobody's
_NOT_ME: Final = {"not_me_link": f"https://accounts.example.com/account/not-me#token={_TOKEN}"}


def _link(page: str, expires_in: int) -> dict[str, str | int]:
    return {"link": f"https://accounts.example.com/account/{page}#token={_TOKEN}", "expires_in": expires_in}


SAMPLES: Final[Mapping[str, Context]] = {
    "verify_registration": _link("verify", 86400),
    "already_registered": {"link": "https://accounts.example.com/account/reset"},
    "verify_email": _link("verify", 86400),
    "change_email": _link("change-email", 86400),
    "reset_password": _link("reset", 3600),
    "sign_in_link": _link("sign-in", 900),
    "sign_in_code": {"code": "402918", "expires_in": 900},
    "sign_in_link_and_code": {"code": "402918", **_link("sign-in", 900)},
    "reauthentication_code": {"code": "402918", "expires_in": 900},
    "invitation": {"inviter": "Jane Doe", **_link("invitation", 604800)},
    "password_changed": _NOT_ME,
    "email_changed": {"new_email": "jane@example.org", **_NOT_ME},
    "new_device": {
        "at": "2026-11-25T09:05:00+00:00",
        "ip": "203.0.113.7",
        "user_agent": "Mozilla/5.0 (X11; Linux x86_64; rv:148.0) Gecko/20100101 Firefox/148.0",
        **_NOT_ME,
    },
    "account_deletion": {
        "due_at": "2026-12-09T09:05:00+00:00",
        "link": "https://accounts.example.com/account/undo-deletion",
        **_NOT_ME,
    },
    "account_deleted": {},
}
