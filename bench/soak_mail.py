"""Take the mail server away under load, kill the worker meanwhile, and print what came of the answers and the mails.

Usage: python -m bench.soak_mail [sqlite|postgresql|mariadb] [--outage down|silent] [--seconds 60] [--clients 4]

Exits 1 if an answer took longer than 300 ms or was not 202, if a mail is missing a while after the mail server is back,
or if one arrived twice that was not in flight when the worker was killed, or under two ids.
"""

from __future__ import annotations

import argparse
import collections
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Final

import requests

from app import create_app
from app.config import Settings
from app.extensions import transaction
from app.models import User
from gatehouse.testing.databases import TEST_ENVIRON, make_databases
from gatehouse.testing.servers.product import Product
from gatehouse.testing.servers.waiting import wait_until
from tests.servers.harness.proxy import NO_FAULT, Fault, Proxy
from tests.servers.harness.workers import SlowMailServer, WorkerProcess

ANSWER_SECONDS: Final = 0.3
ARRIVAL_SECONDS: Final = 300.0
PACE_SECONDS: Final = 0.1
SENDERS: Final = 4


def make_address(client: int, number: int) -> str:
    """Return the address that a client asks about in its request of that number."""
    return f"client{client}-{number}@example.com"


def make_users(environ: dict[str, str], *, clients: int, seconds: float) -> None:
    """Make an account that waits for verification for every request that there can be."""
    app = create_app(Settings.from_environ(environ))
    with app.app_context(), transaction() as writing:
        for client in range(clients):
            writing.add_all(User(email=make_address(client, n)) for n in range(int(seconds / PACE_SECONDS) + 1))
    app.extensions["database"].kw["bind"].dispose()


class Client:
    """Asks for one mail after the other at a steady pace, and keeps how long each answer took."""

    def __init__(self, number: int, url: str) -> None:
        self._number = number
        self._url = url
        self.took: list[float] = []
        self.refused: list[str] = []

    def run(self, until: float) -> None:
        """Ask until then, on the monotonic clock."""
        with requests.Session() as session:
            token = session.get(f"{self._url}/api/v1/auth/csrf", timeout=20).json()["csrf_token"]
            while time.monotonic() < until:
                body = {"email": make_address(self._number, len(self.took))}
                begun_at = time.monotonic()
                answer = session.post(
                    f"{self._url}/api/v1/auth/email/verify/resend",
                    json=body,
                    headers={"X-CSRF-Token": token},
                    timeout=20,
                )
                self.took.append(time.monotonic() - begun_at)
                if answer.status_code != 202:
                    self.refused.append(answer.text)
                time.sleep(PACE_SECONDS)


def drop_out(
    environ: dict[str, str], folder: Path, server: SlowMailServer, proxy: Proxy, *, is_silent: bool, stop_at: float
) -> int:
    """Take the mail server away for most of the time, kill the worker in each state, return how often that was."""
    kills = 0
    with WorkerProcess(environ, folder=folder, name="first") as worker:
        wait_until(lambda: server.count > SENDERS, within_seconds=30, what="the first mails")
        server.seconds = 0.2
        time.sleep(1)
        worker.kill()
        kills += 1
    server.seconds = 0.0
    if is_silent:
        proxy.fault = Fault(is_silent=True)
    else:
        proxy.refuse()
    with WorkerProcess(environ, folder=folder, name="second") as worker:
        time.sleep(max(1.0, (stop_at - time.monotonic()) / 2))
        worker.kill()
        kills += 1
    return kills


def soak(kind: str, folder: Path, *, is_silent: bool, seconds: float, clients: int) -> bool:
    """Print what came of an outage, and say whether every promise was kept."""
    databases = make_databases(kind, folder)
    try:
        with SlowMailServer() as server, Proxy(server.port) as proxy:
            mail = {"MAIL_URL": f"smtp://127.0.0.1:{proxy.port}?timeout=5", "MAIL_IN_PROCESS": "false"}
            environ = TEST_ENVIRON | mail | {"DATABASE_URL": databases.take()}
            make_users(environ, clients=clients, seconds=seconds)
            with Product(environ | {"LOG_LEVEL": "WARNING"}, folder=folder) as product:
                stop_at = time.monotonic() + seconds
                crowd = [Client(number, product.url) for number in range(clients)]
                threads = [threading.Thread(target=client.run, args=(stop_at,)) for client in crowd]
                for thread in threads:
                    thread.start()
                kills = drop_out(environ, folder, server, proxy, is_silent=is_silent, stop_at=stop_at)
                with WorkerProcess(environ, folder=folder, name="third") as worker:
                    for thread in threads:
                        thread.join()
                    proxy.fault = NO_FAULT
                    if not is_silent:
                        proxy.listen()
                    back_at = time.monotonic()
                    asked = sum(len(client.took) for client in crowd)
                    wait_until(
                        lambda: have_arrived(server, asked), within_seconds=ARRIVAL_SECONDS, what=f"{asked} mails"
                    )
                    arrived_after = time.monotonic() - back_at
                    worker.stop()
    finally:
        databases.close()
    return tell(crowd, server, kills=kills, arrived_after=arrived_after)


def have_arrived(server: SlowMailServer, mails: int) -> bool:
    """Say whether so many different mails arrived; they are read only once there may be as many."""
    time.sleep(0.5)
    return server.count >= mails and len(set(server.list_ids())) == mails


def tell(crowd: list[Client], server: SlowMailServer, *, kills: int, arrived_after: float) -> bool:
    """Print what was found, and say whether every promise was kept."""
    took = sorted(each * 1000 for client in crowd for each in client.took)
    refused = [text for client in crowd for text in client.refused]
    twice = [each for each, count in collections.Counter(server.list_ids()).items() if count > 1]
    of_address = collections.Counter(
        str(mail["To"]) for mail in {str(m["Message-ID"]): m for m in server.messages()}.values()
    )
    print(f"answers {len(took)}, median {statistics.median(took):.0f} ms", end=", ")
    print(f"99th percentile {took[int(len(took) * 0.99)]:.0f} ms, slowest {took[-1]:.0f} ms, not 202: {len(refused)}")
    arrived = len(set(server.list_ids()))
    print(f"mails {arrived}, the last {arrived_after:.1f} s after the mail server was back", end=", ")
    print(f"twice {len(twice)} (workers killed: {kills}), under two ids {sum(n > 1 for n in of_address.values())}")
    is_kept = not refused and took[-1] <= ANSWER_SECONDS * 1000 and len(twice) <= kills * SENDERS
    return is_kept and max(of_address.values()) == 1


def main() -> int:
    """Run the outage that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("database", nargs="?", choices=("sqlite", "postgresql", "mariadb"), default="sqlite")
    parser.add_argument("--outage", choices=("down", "silent"), default="silent")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=4)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        is_kept = soak(
            arguments.database,
            Path(folder),
            is_silent=arguments.outage == "silent",
            seconds=arguments.seconds,
            clients=arguments.clients,
        )
    return 0 if is_kept else 1


if __name__ == "__main__":
    sys.exit(main())
