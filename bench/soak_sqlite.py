"""Register, sign in and patch against the real server for a while, and prove that nothing acknowledged got lost.

    .venv/bin/python bench/soak_sqlite.py --seconds 60 --clients 8 --workers 2

Starts the server on one SQLite file with so many workers, on a free port, in a folder of its own. Exits 1 if an answer
was a 5xx, if the log says "database is locked", or if an acknowledged write is missing afterwards.
"""

from __future__ import annotations

import argparse
import collections
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import requests

ROOT = Path(__file__).resolve().parent.parent
PASSWORD = "turnip lantern gravel osprey"  # noqa: S105 - of accounts that live for a minute


class Ledger:
    """What the server acknowledged, and what it answered."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.names: dict[str, str] = {}
        self.statuses: collections.Counter[str] = collections.Counter()
        self.milliseconds: collections.defaultdict[str, list[float]] = collections.defaultdict(list)

    def note(self, verb: str, response: requests.Response) -> None:
        """Count an answer."""
        with self.lock:
            self.statuses[f"{verb} {response.status_code}"] += 1
            self.milliseconds[verb].append(response.elapsed.total_seconds() * 1000)


def run_client(number: int, base: str, ledger: Ledger, until: float) -> None:
    """Register an account, sign in again, rename it twice; over and over."""
    count = 0
    while time.monotonic() < until:
        count += 1
        email = f"soak-{number}-{count}@example.com"
        with requests.Session() as http:
            token = http.get(f"{base}/auth/csrf", timeout=30).json()["csrf_token"]
            body = {"email": email, "password": PASSWORD, "name": "new"}
            response = http.post(f"{base}/auth/register", json=body, headers={"X-CSRF-Token": token}, timeout=30)
            ledger.note("register", response)
            if response.status_code == 503:
                continue
            with ledger.lock:
                ledger.names[email] = "new"
        with requests.Session() as http:
            token = http.get(f"{base}/auth/csrf", timeout=30).json()["csrf_token"]
            body = {"email": email, "password": PASSWORD}
            response = http.post(f"{base}/auth/login", json=body, headers={"X-CSRF-Token": token}, timeout=30)
            ledger.note("login", response)
            token = response.json().get("csrf_token", "")
            for turn in range(4):
                name = f"name {count} {turn}"
                headers = {"X-CSRF-Token": token}
                response = http.patch(f"{base}/users/me", json={"name": name}, headers=headers, timeout=30)
                ledger.note("patch", response)
                if response.ok:
                    with ledger.lock:
                        ledger.names[email] = name


def find_free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until_ready(url: str, server: subprocess.Popen[bytes], *, seconds: float) -> None:
    """Return once the server answers.

    Raises:
        RuntimeError: it ended, or took longer than ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if requests.get(url, timeout=1).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.05)
    raise RuntimeError("the server did not get ready")


def main() -> int:
    """Run the soak and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="gatehouse-soak-"))
    port = find_free_port()
    environ = os.environ | {
        "DATABASE_URL": f"sqlite:///{folder / 'app.db'}",
        "PORT": str(port),
        "WORKERS": str(arguments.workers),
        "RATELIMIT_ENABLED": "false",
        "SECRET_KEY": "ghiZbdB-CGEICBUDSnCOXYGCq2mK5MjDT1WYAx0csI0ueHkg",
        "LOG_LEVEL": "INFO",
    }
    subprocess.run([sys.executable, "-m", "flask", "--app", "run", "db", "upgrade"], cwd=ROOT, env=environ, check=True)
    log = folder / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen([sys.executable, "run.py"], cwd=ROOT, env=environ, stdout=output, stderr=output)
    ledger = Ledger()
    try:
        wait_until_ready(f"http://127.0.0.1:{port}/readyz", server, seconds=30)
        until = time.monotonic() + arguments.seconds
        threads = [
            threading.Thread(target=run_client, args=(number, f"http://127.0.0.1:{port}/api/v1", ledger, until))
            for number in range(arguments.clients)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=30)
    with sqlite3.connect(folder / "app.db") as database:
        stored = dict(database.execute("SELECT email, name FROM users").fetchall())
    missing = {email for email, name in ledger.names.items() if stored.get(email) != name}
    errors = sum(count for status, count in ledger.statuses.items() if status.split()[1].startswith("5"))
    locked = log.read_text(errors="replace").count("database is locked")
    for status, count in sorted(ledger.statuses.items()):
        print(f"{status}: {count}")
    for verb, times in sorted(ledger.milliseconds.items()):
        times.sort()
        print(f"{verb}: median {times[len(times) // 2]:.0f} ms, p99 {times[int(len(times) * 0.99)]:.0f} ms")
    print(f"accounts {len(ledger.names)}, missing {len(missing)}, 5xx {errors}, 'database is locked' {locked}")
    print(f"server's exit code {server.returncode}, log {log}")
    return 1 if missing or errors or locked or server.returncode else 0


if __name__ == "__main__":
    sys.exit(main())
