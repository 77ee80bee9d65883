"""What a server does with signals, killed workers, slow clients and malformed requests."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.programs import Program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOST = "127.0.0.1"
CLOSED = "closed"
RESET = "reset"
REFUSED = "refused"
SILENT = "silent"


def ask(port: int, raw: bytes, *, timeout: float = 5.0) -> str:
    """Send ``raw`` on a connection of its own; return the status, or what became of the connection."""
    try:
        connection = socket.create_connection((HOST, port), timeout=timeout)
    except ConnectionRefusedError:
        return REFUSED
    except TimeoutError:
        return SILENT
    except OSError:
        return RESET
    with connection:
        try:
            connection.sendall(raw)
            return get_status(read_answer(connection))
        except TimeoutError:
            return SILENT
        except OSError:
            return RESET


def read_answer(connection: socket.socket) -> bytes:
    """Read one answer with a Content-Length, or as much of it as comes."""
    data = b""
    while True:
        head, found, body = data.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        if found and (length is None or len(body) >= int(length[1])):
            return data
        more = connection.recv(65536)
        if not more:
            return data
        data += more


def get_status(answer: bytes) -> str:
    """Return the status code of an answer, ``closed`` if there was none."""
    return answer.split(b" ", 2)[1].decode() if answer.startswith(b"HTTP/") else CLOSED


def get(path: str, *, close: bool = True) -> bytes:
    """Return a GET request."""
    ending = "Connection: close\r\n" if close else ""
    return f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{ending}\r\n".encode()


class Server(Program):
    """A server of the comparison."""

    def __init__(self, name: str, *, workers: int = 2, threads: int = 4) -> None:
        self.workers = workers
        database = Path(os.environ["BENCH_DATABASE"])
        super().__init__(
            [sys.executable, "-m", "bench.servers.launch", name, "{port}", str(workers), str(threads)],
            environ={"BENCH_DATABASE": str(database)},
            log=database.with_name(f"{name}.log"),
            path="/json",
        )

    def find_worker_pids(self) -> set[int]:
        """Return the processes that answered a hundred requests."""
        pids: set[int] = set()
        for _ in range(100):
            with contextlib.suppress(OSError, ValueError, KeyError):
                pids.add(fetch_json(self.port, "/pid")["pid"])
        return pids


def fetch(port: int, raw: bytes) -> bytes:
    """Return everything that comes back for ``raw``."""
    with socket.create_connection((HOST, port), timeout=5) as connection:
        connection.sendall(raw)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def fetch_json(port: int, path: str) -> dict[str, Any]:
    """Return the JSON that ``path`` answers."""
    document: dict[str, Any] = json.loads(fetch(port, get(path)).split(b"\r\n\r\n", 1)[1])
    return document


# --- SIGTERM ---


def chat(port: int, tally: collections.Counter[str], over: threading.Event) -> None:
    """Ask over and over on a kept-alive connection, as a client that notices an announced close."""
    while not over.is_set():
        try:
            with socket.create_connection((HOST, port), timeout=10) as connection:
                answer = b"first"
                while answer and b"connection: close" not in answer.lower() and not over.is_set():
                    connection.sendall(get("/json", close=False))
                    answer = read_answer(connection)
                    tally[get_status(answer)] += 1
                    time.sleep(0.004)
        except ConnectionRefusedError:
            time.sleep(0.02)
        except OSError:
            tally[RESET] += 1


def probe_drain(name: str, *, in_flight: int = 6, seconds: float = 2.0) -> dict[str, Any]:
    """Stop a busy server; count what became of requests in flight, kept-alive ones and new connections."""
    tally: dict[str, collections.Counter[str]] = {
        kind: collections.Counter() for kind in ("in flight", "kept alive", "new")
    }
    over = threading.Event()
    with Server(name) as server:

        def wait_slowly() -> None:
            tally["in flight"][ask(server.port, get(f"/slow?seconds={seconds}"), timeout=15)] += 1

        def connect_over_and_over() -> None:
            while not over.is_set():
                tally["new"][ask(server.port, get("/json"), timeout=10)] += 1
                time.sleep(0.004)

        threads = [threading.Thread(target=wait_slowly) for _ in range(in_flight)]
        threads += [threading.Thread(target=connect_over_and_over) for _ in range(2)]
        threads += [threading.Thread(target=chat, args=(server.port, tally["kept alive"], over)) for _ in range(2)]
        for thread in threads:
            thread.start()
        time.sleep(0.6)
        server.process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        code = wait_for_exit(server.process, seconds=10)
        took = time.monotonic() - started
        over.set()
        for thread in threads:
            thread.join()
    return {"exit": code, "seconds": round(took, 2), **{kind: dict(counter) for kind, counter in tally.items()}}


def probe_storm(name: str, *, stops: int = 4) -> dict[str, Any]:
    """Stop a server some times while eight clients connect as fast as they can; count what became of them."""
    tally: collections.Counter[str] = collections.Counter()
    for _ in range(stops):
        over = threading.Event()
        with Server(name) as server:

            def connect_over_and_over(port: int = server.port, over: threading.Event = over) -> None:
                while not over.is_set():
                    status = ask(port, get("/json"), timeout=5)
                    tally[status] += 1
                    if status == REFUSED:
                        break

            threads = [threading.Thread(target=connect_over_and_over) for _ in range(8)]
            for thread in threads:
                thread.start()
            time.sleep(0.3)
            server.process.send_signal(signal.SIGTERM)
            wait_for_exit(server.process, seconds=10)
            over.set()
            for thread in threads:
                thread.join()
    return {"stops": stops, **tally}


def wait_for_exit(process: subprocess.Popen[bytes], *, seconds: float) -> int | None:
    """Return the exit code, ``None`` if the process is still there after ``seconds``."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def probe_idle_connection(name: str) -> dict[str, Any]:
    """Stop a server while a client merely holds a connection open."""
    with Server(name) as server, socket.create_connection((HOST, server.port), timeout=5) as connection:
        connection.sendall(get("/json", close=False))
        connection.recv(65536)
        server.process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        code = wait_for_exit(server.process, seconds=8)
        return {"exit": code, "seconds": round(time.monotonic() - started, 2)}


def probe_interrupt(name: str) -> dict[str, Any]:
    """Press Ctrl-C: SIGINT to the whole group, with a request in flight."""
    with Server(name) as server:
        answers: list[str] = []
        thread = threading.Thread(target=lambda: answers.append(ask(server.port, get("/slow?seconds=1.5"))))
        thread.start()
        time.sleep(0.3)
        os.killpg(server.process.pid, signal.SIGINT)
        started = time.monotonic()
        code = wait_for_exit(server.process, seconds=8)
        took = round(time.monotonic() - started, 2)
        thread.join()
    return {"exit": code, "seconds": took, "in flight": answers[0]}


# --- a worker dies ---


def probe_killed_worker(name: str) -> dict[str, Any]:
    """Kill a worker under load; count lost requests and the time until there are two again."""
    tally: collections.Counter[str] = collections.Counter()
    over = threading.Event()
    with Server(name) as server:
        before = server.find_worker_pids()

        def load() -> None:
            while not over.is_set():
                tally[ask(server.port, get("/query"), timeout=5)] += 1

        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        os.kill(min(before), signal.SIGKILL)
        started = time.monotonic()
        took = None
        while took is None and time.monotonic() < started + 6 and server.process.poll() is None:
            pids = server.find_worker_pids()
            if len(pids - {min(before)}) == server.workers:
                took = round(time.monotonic() - started, 2)
        over.set()
        for thread in threads:
            thread.join()
    tally.pop(REFUSED, None) if took is None else None
    lost = sum(count for status, count in tally.items() if status != "200")
    return {"replaced after": took, "lost": lost, "answered": tally["200"]}


# --- slow clients ---


@contextlib.contextmanager
def dribble(port: int, head: bytes, *, connections: int) -> Iterator[None]:
    """Hold connections whose requests arrive a byte at a time and never end."""
    over = threading.Event()
    held: list[socket.socket] = []
    for _ in range(connections):
        with contextlib.suppress(OSError):
            connection = socket.create_connection((HOST, port), timeout=1)
            connection.sendall(head)
            held.append(connection)

    def go_on() -> None:
        while not over.wait(0.2):
            for connection in held:
                with contextlib.suppress(OSError):
                    connection.sendall(b"x")

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        for connection in held:
            connection.close()


def probe_slow_clients(name: str) -> dict[str, str]:
    """Say how often an honest client is answered within a second beside 32 that dribble, or never close."""
    heads = {
        "headers": b"GET /json HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        "closing": get("/json"),
        "body": b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n",
    }
    results: dict[str, str] = {}
    for kind, head in heads.items():
        with Server(name) as server, dribble(server.port, head, connections=32):
            time.sleep(0.5)
            answers = [ask(server.port, get("/json"), timeout=1) for _ in range(4)]
            results[kind] = f"{answers.count('200')} of 4"
    return results


# --- malformed requests ---

_HOST = b"Host: x\r\n"
MALFORMED: dict[str, bytes] = {
    "two Content-Length": b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "Content-Length: 3, 3": b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3, 3\r\n\r\nabc",
    "Content-Length: +3": b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc",
    "Transfer-Encoding and Content-Length": (
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "Transfer-Encoding: xchunked": b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunk size not hex": (
        b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n"
    ),
    "blank before colon": b"GET /echo HTTP/1.1\r\nHost : x\r\n\r\n",
    "folded header": b"GET /echo HTTP/1.1\r\nHost: x\r\nX-A: b\r\n c\r\n\r\n",
    "bare LF lines": b"GET /echo HTTP/1.1\nHost: x\n\n",
    "NUL in a header": b"GET /echo HTTP/1.1\r\nHost: x\r\nX-A: b\x00c\r\n\r\n",
    "CR in a header": b"GET /echo HTTP/1.1\r\nHost: x\r\nX-A: b\rX-B: c\r\n\r\n",
    "no Host": b"GET /echo HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET /echo HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "HTTP/9.9": b"GET /echo HTTP/9.9\r\nHost: x\r\n\r\n",
    "64 KiB of URL": b"GET /echo?" + b"a" * 65536 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "1 MiB of headers": b"GET /echo HTTP/1.1\r\nHost: x\r\n" + (b"X-A: " + b"a" * 4000 + b"\r\n") * 256 + b"\r\n",
    "500 headers": b"GET /echo HTTP/1.1\r\nHost: x\r\n" + b"X-A: b\r\n" * 500 + b"\r\n",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 60 + b"\r\n\r\n",
}
GOOD = {"400", "405", "408", "411", "413", "414", "421", "426", "431", "501", "505", CLOSED, RESET}


def probe_malformed(name: str) -> dict[str, str]:
    """Return what each malformed request was answered with."""
    with Server(name) as server:
        return {what: ask(server.port, raw, timeout=2) for what, raw in MALFORMED.items()}


def probe_environ(name: str) -> dict[str, Any]:
    """Return what the application sees of a request with unusual but correct headers."""
    raw = (
        b"GET /echo/../echo?a=%20b&c HTTP/1.1\r\nHost: x\r\nX-Twice: 1\r\nX-Twice: 2\r\nX_Under: forged\r\n"
        b"Cookie: a=1\r\nCookie: b=2\r\nX-Latin: \xe9\r\nConnection: close\r\n\r\n"
    )
    with Server(name) as server:
        answer = fetch(server.port, raw.replace(b"/echo/../echo", b"/echo"))
        try:
            environ = json.loads(answer.split(b"\r\n\r\n", 1)[1])["environ"]
        except (ValueError, IndexError):
            return {"answer": answer[:60].decode("latin-1")}
    names = ("REMOTE_ADDR", "HTTP_X_TWICE", "HTTP_X_UNDER", "HTTP_COOKIE", "HTTP_X_LATIN", "QUERY_STRING", "RAW_URI")
    return {key: environ.get(key) for key in names}


PROBES: dict[str, Callable[[str], dict[str, Any]]] = {
    "SIGTERM under load": probe_drain,
    "SIGTERM, storm of connections": probe_storm,
    "SIGTERM, idle connection": probe_idle_connection,
    "SIGINT, request in flight": probe_interrupt,
    "kill -9 of a worker": probe_killed_worker,
    "32 slow clients": probe_slow_clients,
    "malformed": probe_malformed,
    "environ": probe_environ,
}
