"""Count the functions of ``app/`` that a request passes: ``python bench/functions.py [--list]``.

What is counted is each call into code under ``app/``, from the WSGI call to the end of the answer, in this process, on
SQLite and ``memory://`` with three limits and the log in JSON: how many functions the calls were of, and how many
calls. A comprehension is part of its function; what a library does is the library's. A few requests of the kind are
answered before the one that is counted, so that what is done once is done.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from flask_migrate import upgrade  # noqa: E402 - the product is not installed

from app import create_app  # noqa: E402 - likewise
from app.config import Settings  # noqa: E402 - likewise
from gatehouse.testing.databases import TEST_ENVIRON  # noqa: E402 - likewise
from gatehouse.testing.factories import Factory  # noqa: E402 - likewise

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

ENVIRON = TEST_ENVIRON | {
    "LOG_LEVEL": "INFO",
    "LOG_FORMAT": "json",
    "RATELIMIT_ENABLED": "true",
    "RATELIMIT_DEFAULT": "100000/minute;1000000/hour;10000000/day",
}
APP = str(ROOT / "app") + "/"
WARM_UPS = 3
EXPRESSIONS = {"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"}


def count_calls(request: Callable[[], Any]) -> Counter[str]:
    """Return how often ``request`` calls each function of ``app/``, by file and name."""
    calls: Counter[str] = Counter()

    def note(frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(APP) and code.co_name not in EXPRESSIONS:
            calls[f"{code.co_filename.removeprefix(APP)} {code.co_qualname}"] += 1

    sys.setprofile(note)
    try:
        response = request()
    finally:
        sys.setprofile(None)
    assert response.status_code < 300, response.text
    return calls


def main() -> None:
    """Print the calls of both requests, and with ``--list`` each function."""
    with tempfile.TemporaryDirectory() as folder:
        app = create_app(Settings.from_environ(ENVIRON | {"DATABASE_URL": f"sqlite:///{folder}/app.db"}))
        with app.app_context():
            upgrade()
        factory = Factory(app)
        browser = factory.sign_in(factory.admin())
        token = {"X-CSRF-Token": browser.get("/api/v1/auth/csrf").get_json()["csrf_token"]}
        emails = (f"new{number}@example.com" for number in range(WARM_UPS + 1))
        requests: dict[str, Callable[[], Any]] = {
            "GET /api/v1/users/me": lambda: browser.get("/api/v1/users/me"),
            "POST /api/v1/users": lambda: browser.client.post(
                "/api/v1/users", json={"email": next(emails), "name": "New"}, headers=token
            ),
        }
        for name, request in requests.items():
            for _ in range(WARM_UPS):
                request()
            calls = count_calls(request)
            print(f"{name:22} {len(calls):3} functions, {calls.total():3} calls")
            for function, count in sorted(calls.items()) if "--list" in sys.argv else ():
                print(f"    {count:3} {function}")


if __name__ == "__main__":
    main()
