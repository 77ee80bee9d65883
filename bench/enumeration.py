"""Ask the real server for addresses that have an account and for such that have none, in turn, and compare the answers.

    .venv/bin/python -m bench.enumeration --pairs 2000

Starts the server on one SQLite file, on a free port, in a folder of its own. For each call it prints whether status,
body and headers were the same, and how well the time alone tells one kind from the other: the area under the ROC curve,
0.5 where it tells nothing. Exits 1 if an answer differs or an area is outside 0.45 to 0.55. Nothing else should keep
the machine busy.
"""

from __future__ import annotations

import argparse
import bisect
import http.client
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from app import create_app
from app.cli.migrations import upgrade_database
from app.config import Settings
from gatehouse.testing.factories import PASSWORD, Factory
from gatehouse.testing.servers.product import Product

ACCOUNTS: Final = 50
BOUNDS: Final = (0.45, 0.55)
# What differs between any two answers.
INDIVIDUAL_HEADERS: Final = frozenset({"x-request-id", "date"})
CALLS: Final = {
    "sign-in": ("/api/v1/auth/login", {"password": "a password that is wrong"}, 401),
    "registration": ("/api/v1/auth/register", {"password": PASSWORD, "name": "Ada"}, 202),
    "reset": ("/api/v1/auth/password/forgot", {}, 202),
    "resend": ("/api/v1/auth/email/verify/resend", {}, 202),
    "sign-in by mail": ("/api/v1/auth/mail-sign-in", {}, 202),
}
Answer = tuple[int, object, tuple[tuple[str, str], ...]]


class Client:
    """One connection that is kept, with a browser's cookies and CSRF token."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self._connection.request("GET", "/api/v1/auth/csrf")
        response = self._connection.getresponse()
        token = json.loads(response.read())["csrf_token"]
        cookie = (response.getheader("Set-Cookie") or "").partition(";")[0]
        self._headers = {"Content-Type": "application/json", "X-CSRF-Token": token, "Cookie": cookie}

    def ask(self, path: str, body: dict[str, str]) -> tuple[float, Answer]:
        """Return how many seconds the answer took, and what of it could tell somebody."""
        data = json.dumps(body)
        start = time.perf_counter()
        self._connection.request("POST", path, data, self._headers)
        response = self._connection.getresponse()
        text = response.read()
        seconds = time.perf_counter() - start
        told = json.loads(text)
        told.pop("request_id", None)
        headers = sorted(
            # A cookie's value is random; that there is one is not.
            (name.lower(), value.partition("=")[0] if name.lower() == "set-cookie" else value)
            for name, value in response.getheaders()
            if name.lower() not in INDIVIDUAL_HEADERS
        )
        return seconds, (response.status, told, tuple(headers))


def measure_area(known: list[float], unknown: list[float]) -> float:
    """Return how often a known address takes longer than an unknown one, half of it where they take as long."""
    ordered = sorted(unknown)
    less = sum(bisect.bisect_left(ordered, seconds) + bisect.bisect_right(ordered, seconds) for seconds in known)
    return less / (2 * len(known) * len(unknown))


def compare(client: Client, name: str, *, pairs: int) -> bool:
    """Ask in turn, in random order within each pair; print what was found and return whether it tells nothing."""
    path, body, status = CALLS[name]
    times: dict[bool, list[float]] = {True: [], False: []}
    answers: set[str] = set()
    for number in range(pairs):
        emails = {True: f"known{number % ACCOUNTS}@example.com", False: f"nobody{number}@example.com"}
        for is_known in random.sample([True, False], 2):
            seconds, answer = client.ask(path, {"email": emails[is_known], **body})
            times[is_known].append(seconds)
            answers.add(repr(answer))
            if answer[0] != status:
                print(f"{name}: {answer}", file=sys.stderr)
                return False
    area = measure_area(times[True], times[False])
    medians = [sorted(times[is_known])[pairs // 2] * 1000 for is_known in (True, False)]
    is_fine = len(answers) == 1 and BOUNDS[0] <= area <= BOUNDS[1]
    print(
        f"{'ok  ' if is_fine else 'MISS'} {name}: {pairs} pairs, {len(answers)} kind(s) of answers,"
        f" median {medians[0]:.2f} ms known, {medians[1]:.2f} ms unknown, area {area:.3f}",
        flush=True,
    )
    return is_fine


def main() -> None:
    """Measure every call."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--only", choices=list(CALLS))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        environ = {
            "APP_ENV": "testing",
            "SECRET_KEY": "9b1Nq4hVtX7wKzR2mC8pLd5sYfG3jA6u-0eQoW",
            "DATABASE_URL": f"sqlite:///{folder}/app.db",
            "RATELIMIT_ENABLED": "false",
            "EMAIL_VERIFICATION": "required",
            "SIGN_IN_METHODS": "password,mail_link",
            "MAIL_URL": f"file:{folder}/mails",
            # The worker's own writes would be noise: they come after the answers, whenever they come.
            "MAIL_IN_PROCESS": "false",
            "GUESSES_MAX": "100",
            "LOG_LEVEL": "WARNING",
        }
        app = create_app(Settings.from_environ(environ))
        with app.app_context():
            upgrade_database()
        factory = Factory(app)
        for number in range(ACCOUNTS):
            factory.user(email=f"known{number}@example.com", password=PASSWORD)
        with Product(environ, folder=Path(folder)) as product:
            names = [arguments.only] if arguments.only else list(CALLS)
            results = [compare(Client(product.port), name, pairs=arguments.pairs) for name in names]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
