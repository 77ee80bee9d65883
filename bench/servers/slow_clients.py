"""Ask the product for /livez and users/me beside hundreds of slow clients, and print how long that takes.

    .venv/bin/python -m bench.servers.slow_clients

Needs Linux, where a client may come from any address of 127.0.0.0/8. Starts the product itself with one worker of four
threads on SQLite, without rate limits. Takes about three minutes; ends with exit code 1 if a figure is not reached.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import multiprocessing
import os
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from bench.servers import probes
from gatehouse.testing.servers.ports import find_free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.synchronize import Event

ROOT = Path(__file__).resolve().parents[2]
EMAIL, PASSWORD = "admin@example.com", "turnip lantern gravel osprey"
WANTED_MS = 100.0
DRIBBLE_SECONDS = 2.0
SETTLE_SECONDS = 4.0
# Thousands of long answers have to be made first: that is load, and not what is measured.
UNREAD_SETTLE_SECONDS = 12.0
COME_AGAIN_SECONDS = 4.0
CROWDS = ((500, False), (2000, True))

HEAD = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
LONG = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"

# What a client sends at once, what it then sends over and over, and whether it reads.
ATTACKS: dict[str, tuple[bytes, bytes, bool]] = {
    "silent": (b"", b"", True),
    "dribbled heads": (HEAD + b"X-Slow: ", b"x", True),
    "dribbled bodies": (POST + b"Content-Length: 60000\r\n\r\n", b"x", True),
    "nearly whole bodies": (POST + b"Content-Length: 60000\r\n\r\n" + b"x" * 59_000, b"x", True),
    "dribbled chunks": (POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", True),
    "waiting for 100": (POST + b"Expect: 100-continue\r\nContent-Length: 9999\r\n\r\n", b"x", True),
    "kept alive, then slow": (HEAD + b"\r\n" + HEAD, b"X: y\r\n", True),
    "never closing": (HEAD + b"Connection: close\r\n\r\n", b"", True),
    "not reading": (LONG * 4, b"", False),
}


class Crowd:
    """Clients that all do what ``kind`` says, and come again when the server ends their connection."""

    def __init__(self, port: int, kind: str, *, is_from_many: bool) -> None:
        self._port = port
        self._first, self._then, self.reads = ATTACKS[kind]
        self._is_from_many = is_from_many
        self._poller = selectors.DefaultSelector()
        self._clients: dict[int, socket.socket] = {}
        self._ended: list[int] = []
        self._due = 0.0

    def connect(self, number: int) -> None:
        """Begin the connection of that number."""
        client = socket.socket()
        if not self.reads:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.bind((f"127.1.{number // 250}.{number % 250 + 1}" if self._is_from_many else "127.0.0.2", 0))
        client.settimeout(0)
        client.connect_ex((probes.HOST, self._port))
        self._clients[number] = client
        self._poller.register(client, selectors.EVENT_WRITE, number)

    def look(self, *, seconds: float) -> None:
        """Send the first bytes where a connection is made, and read what comes."""
        for key, events in self._poller.select(seconds):
            client = self._clients[key.data]
            try:
                if events & selectors.EVENT_WRITE:
                    client.send(self._first)
                    self._poller.unregister(client)
                    if self.reads:
                        self._poller.register(client, selectors.EVENT_READ, key.data)
                elif not client.recv(65536):
                    self._leave(key.data)
            except BlockingIOError:
                continue
            except OSError:
                self._leave(key.data)

    def _leave(self, number: int) -> None:
        self._poller.unregister(self._clients[number])
        self._ended.append(number)

    def dribble(self) -> None:
        """Send the next bytes."""
        for client in self._clients.values() if self._then else ():
            with contextlib.suppress(OSError):
                client.send(self._then)

    def come_again(self, *, seconds: float) -> None:
        """Connect anew where the connection has ended, ``COME_AGAIN_SECONDS`` after it on average."""
        self._due += seconds * len(self._ended) / COME_AGAIN_SECONDS
        while self._due >= 1 and self._ended:
            self._due -= 1
            number = self._ended.pop()
            self._clients[number].close()
            self.connect(number)


def attack(crowd: Crowd, count: int, ready: Event, over: Event) -> None:
    """Hold ``count`` connections of ``crowd``."""
    for number in range(count):
        crowd.connect(number)
    started = dribbled_at = now = time.monotonic()
    while not over.is_set():
        before, now = now, time.monotonic()
        crowd.come_again(seconds=now - before)
        crowd.look(seconds=0.05)
        if now > started + (SETTLE_SECONDS if crowd.reads else UNREAD_SETTLE_SECONDS):
            ready.set()
        if now > dribbled_at + DRIBBLE_SECONDS:
            dribbled_at = now
            crowd.dribble()


class Product:
    """The product on a free port, signed in to."""

    def __init__(self, folder: Path) -> None:
        self.port = find_free_port()
        environ = {
            "PATH": os.environ["PATH"],
            "DATABASE_URL": f"sqlite:///{folder / 'app.db'}",
            "SECRET_KEY": os.urandom(32).hex(),
            "ADMIN_EMAIL": EMAIL,
            "ADMIN_PASSWORD": PASSWORD,
            "RATELIMIT_ENABLED": "false",
            "LOG_LEVEL": "WARNING",
            "PORT": str(self.port),
            "WORKERS": "1",
            "THREADS": "4",
        }
        setup = [sys.executable, "-m", "flask", "--app", "run", "setup"]
        subprocess.run(setup, cwd=ROOT, env=environ, check=True, capture_output=True)
        self._log = (folder / "server.log").open("wb")
        self._process = subprocess.Popen([sys.executable, "run.py"], cwd=ROOT, env=environ, stderr=self._log)
        while probes.ask(self.port, probes.get("/livez"), timeout=1) != "200":
            time.sleep(0.05)
        self.cookie = ""
        _, token = self.ask("GET", "/api/v1/auth/csrf")
        status, _ = self.ask(
            "POST",
            "/api/v1/auth/login",
            {"email": EMAIL, "password": PASSWORD},
            {"X-CSRF-Token": token["csrf_token"]},
        )
        assert status == 200, status

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()

    def ask(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None, timeout: float = 5.0
    ) -> tuple[int, Any]:
        """Send one request on a connection of its own; return its status and JSON."""
        connection = http.client.HTTPConnection(probes.HOST, self.port, timeout=timeout)
        sent = {"Content-Type": "application/json", "Cookie": self.cookie} | (headers or {})
        connection.request(method, path, None if body is None else json.dumps(body), sent)
        answer = connection.getresponse()
        for name, value in answer.getheaders():
            if name.lower() == "set-cookie":
                self.cookie = value.split(";")[0]
        text = answer.read()
        connection.close()
        return answer.status, json.loads(text) if text.startswith(b"{") else None

    @property
    def children(self) -> list[int]:
        """The worker's process."""
        path = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def measure_cpu_seconds(self) -> float:
        """Return what the worker has used so far."""
        ticks = [sum(map(int, Path(f"/proc/{pid}/stat").read_text().split()[13:15])) for pid in self.children]
        return sum(ticks) / os.sysconf("SC_CLK_TCK")

    def measure_memory_mib(self) -> float:
        """Return what the worker holds in memory."""
        pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.children]
        return sum(pages) * os.sysconf("SC_PAGE_SIZE") / 1024**2


@contextlib.contextmanager
def attacking(port: int, kind: str, count: int, *, is_from_many: bool) -> Iterator[None]:
    """Attack from another process."""
    ready, over = multiprocessing.Event(), multiprocessing.Event()
    process = multiprocessing.Process(
        target=attack, args=(Crowd(port, kind, is_from_many=is_from_many), count, ready, over)
    )
    process.start()
    ready.wait(60)
    try:
        yield
    finally:
        over.set()
        process.join()


def measure(product: Product, path: str, *, seconds: float) -> tuple[list[float], int]:
    """Ask for ``path`` over and over; return the milliseconds of each answer, and how many were none."""
    times, faults = [], 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        begun = time.perf_counter()
        try:
            status, _ = product.ask("GET", path)
        except OSError:
            status = 0
        times.append((time.perf_counter() - begun) * 1000)
        faults += status != 200
        time.sleep(0.02)
    return times, faults


def measure_beside(product: Product, kind: str, count: int, *, is_from_many: bool, seconds: float) -> bool:
    """Print one line of the table; say whether its figures are as wanted."""
    crowd = attacking(product.port, kind, count, is_from_many=is_from_many) if count else contextlib.nullcontext()
    with crowd:
        cpu, begun = product.measure_cpu_seconds(), time.monotonic()
        livez, livez_faults = measure(product, "/livez", seconds=seconds)
        me, me_faults = measure(product, "/api/v1/users/me", seconds=seconds)
        share = (product.measure_cpu_seconds() - cpu) / (time.monotonic() - begun)
        memory = product.measure_memory_mib()
    cells = [f"{statistics.median(times):.1f} / {find_p95(times):.1f} / {max(times):.0f}" for times in (livez, me)]
    who = f"{count} {kind}, {'as many addresses' if is_from_many else 'one address'}" if count else kind
    faults = livez_faults + me_faults
    print(f"| {who} | {cells[0]} | {cells[1]} | {faults} | {share:.0%} | {memory:.0f} |", flush=True)
    return not faults and max(find_p95(livez), find_p95(me)) < WANTED_MS


def find_p95(times: list[float]) -> float:
    """Return the 95th percentile."""
    return sorted(times)[int(len(times) * 0.95)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--only", choices=list(ATTACKS))
    options = parser.parse_args()
    lines = [("nobody", 0, False)] if options.only is None else []
    for kind in [options.only] if options.only else ATTACKS:
        lines += [(kind, count, is_from_many) for count, is_from_many in CROWDS]
    with tempfile.TemporaryDirectory() as folder, Product(Path(folder)) as product:
        print("| beside | /livez p50 / p95 / worst ms | users/me p50 / p95 / worst ms | unanswered | CPU | MiB |")
        print("|---|---|---|---|---|---|", flush=True)
        is_reached = [
            measure_beside(product, kind, count, is_from_many=is_from_many, seconds=options.seconds)
            for kind, count, is_from_many in lines
        ]
    sys.exit(0 if all(is_reached) else 1)


if __name__ == "__main__":
    main()
