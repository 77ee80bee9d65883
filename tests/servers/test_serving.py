"""The production server as processes: how it stops, what it replaces, whom it refuses."""

from __future__ import annotations

import collections
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOST = "127.0.0.1"
ROOT = Path(__file__).resolve().parents[2]
DEADLINE_SECONDS = 15.0

REFUSED = "refused"
RESET = "reset"
CLOSED = "closed"


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Return once ``condition`` holds."""
    until = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < until, f"waited in vain for {what}"
        time.sleep(0.01)


def request(path: str, *headers: str, body: bytes = b"", method: str = "GET") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: x", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def read_answer(connection: socket.socket) -> bytes:
    data = b""
    while True:
        head, found, body = data.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        if found and length and len(body) >= int(length[1]):
            return data
        more = connection.recv(65536)
        if not more:
            return data
        data += more


def get_status(answer: bytes) -> str:
    return answer.split(b" ", 2)[1].decode() if answer.startswith(b"HTTP/") else CLOSED


class Process:
    """The server that ``tiny.py`` describes."""

    def __init__(self, folder: Path, *, workers: int = 2, threads: int = 4, delay: float = 0.0) -> None:
        self.folder = folder
        with socket.create_server((HOST, 0)) as probe:
            self.port: int = probe.getsockname()[1]
        arguments = [self.port, workers, threads, delay, folder]
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "tests.servers.tiny", *map(str, arguments)], cwd=ROOT, start_new_session=True
        )
        wait_until(lambda: self.ask("/") == "200", "the server")

    def connect(self) -> socket.socket:
        return socket.create_connection((HOST, self.port), timeout=DEADLINE_SECONDS)

    def send(self, raw: bytes) -> bytes:
        with self.connect() as connection:
            connection.sendall(raw)
            return read_answer(connection)

    def ask(self, path: str) -> str:
        """Return the status of ``path`` on a connection of its own, or what became of the connection."""
        try:
            return get_status(self.send(request(path, "Connection: close")))
        except ConnectionRefusedError:
            return REFUSED
        except ConnectionError:
            return RESET

    def refuses(self) -> bool:
        """Say whether new connections are refused, without waiting for an answer."""
        try:
            self.connect().close()
        except ConnectionRefusedError:
            return True
        return False

    def fetch(self, raw: bytes) -> Any:
        return json.loads(self.send(raw).split(b"\r\n\r\n", 1)[1])

    def find_pids(self) -> set[int]:
        return {self.fetch(request("/", "Connection: close"))["pid"] for _ in range(20)}

    def hold(self, stack: ExitStack, count: int) -> list[str]:
        """Start so many requests that do not end before ``release``; return the list that their answers go to."""
        answers: list[str] = []
        for number in range(count):
            thread = threading.Thread(target=lambda path=f"/hold/{number}": answers.append(self.ask(path)))
            thread.start()
            stack.callback(thread.join)
            stack.callback(self.release)
            wait_until((self.folder / str(number)).exists, f"request {number} to begin")
        return answers

    def release(self) -> None:
        (self.folder / "release").touch()

    def wait(self) -> int:
        return self.popen.wait(DEADLINE_SECONDS)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    started: list[Process] = []

    def start(**changes: Any) -> Process:
        started.append(Process(tmp_path, **changes))
        return started[-1]

    yield start
    for process in started:
        process.kill()


@contextmanager
def connecting(process: Process, *, clients: int) -> Iterator[collections.Counter[str]]:
    """Connect over and over until refused, and count what became of it."""
    tally: collections.Counter[str] = collections.Counter()

    def connect() -> None:
        until = time.monotonic() + DEADLINE_SECONDS
        status = ""
        while status != REFUSED and time.monotonic() < until:
            status = process.ask("/")
            tally[status] += 1

    threads = [threading.Thread(target=connect) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield tally
    finally:
        for thread in threads:
            thread.join()


def test_on_sigterm_readiness_turns_503_then_requests_in_flight_end_and_the_exit_code_is_0(
    start: Callable[..., Process],
) -> None:
    process = start(delay=1.0)
    with ExitStack() as stack:
        answers = process.hold(stack, 3)
        assert process.ask("/readyz") == "200"
        process.popen.terminate()
        wait_until(lambda: process.ask("/readyz") == "503", "readiness to turn 503")
        assert process.ask("/") == "200", "new requests are still answered in this phase"
        wait_until(lambda: process.ask("/") == REFUSED, "the door to close")
        assert answers == [], "nothing in flight was cut off"
        process.release()
        assert process.wait() == 0
    assert answers == ["200"] * 3


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can close a listener without a race")
def test_no_connection_made_during_the_drain_is_reset(start: Callable[..., Process]) -> None:
    process = start()
    with connecting(process, clients=6) as tally:
        wait_until(lambda: tally["200"] > 50, "some answers")
        process.popen.terminate()
        assert process.wait() == 0
    assert set(tally) == {"200", REFUSED}


def test_a_kept_alive_connection_is_answered_during_the_drain_and_told_to_close(start: Callable[..., Process]) -> None:
    process = start(delay=5.0)
    with process.connect() as connection:
        connection.sendall(request("/"))
        assert b"connection: keep-alive" in read_answer(connection).lower()
        process.popen.terminate()
        wait_until(lambda: process.ask("/readyz") == "503", "readiness to turn 503")
        connection.sendall(request("/"))
        answer = read_answer(connection)
    assert get_status(answer) == "200"
    assert b"connection: close" in answer.lower()


def test_a_kept_alive_connection_is_answered_after_the_door_has_closed(start: Callable[..., Process]) -> None:
    process = start()
    with ExitStack() as stack, process.connect() as connection:
        connection.sendall(request("/"))
        read_answer(connection)
        process.hold(stack, 1)
        process.popen.terminate()
        wait_until(lambda: process.ask("/") == REFUSED, "the door to close")
        connection.sendall(request("/"))
        answer = read_answer(connection)
        process.release()
    assert get_status(answer) == "200"
    assert process.wait() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can close a listener without a race")
def test_a_connection_that_waits_for_a_busy_worker_is_answered_during_the_drain(start: Callable[..., Process]) -> None:
    process = start(workers=1, threads=1)
    with ExitStack() as stack, process.connect() as first, process.connect() as second:
        process.hold(stack, 1)
        waiting = [first, second, *(stack.enter_context(process.connect()) for _ in range(5))]
        for connection in waiting:
            connection.sendall(request("/", "Connection: close"))
        process.popen.terminate()
        wait_until(process.refuses, "the door to close")
        process.release()
        assert [get_status(read_answer(connection)) for connection in waiting] == ["200"] * 7
    assert process.wait() == 0


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("delay", [0.0, 60.0])
def test_a_second_signal_ends_everything_at_once(
    start: Callable[..., Process], second: signal.Signals, delay: float
) -> None:
    process = start(delay=delay)
    with ExitStack() as stack:
        process.hold(stack, 1)
        process.popen.terminate()
        wait_until(lambda: process.ask("/readyz") in {"503", REFUSED}, "the drain")
        process.popen.send_signal(second)
        assert process.wait() == 0


def test_ctrl_c_lets_a_request_in_flight_end(start: Callable[..., Process]) -> None:
    process = start(delay=60.0)
    with ExitStack() as stack:
        answers = process.hold(stack, 1)
        os.killpg(process.popen.pid, signal.SIGINT)
        wait_until(lambda: process.ask("/") == REFUSED, "the door to close")
        process.release()
        assert process.wait() == 0
    assert answers == ["200"]


def test_a_killed_worker_is_replaced_and_its_successor_drains_too(start: Callable[..., Process]) -> None:
    process = start(delay=60.0)
    pids: set[int] = set()

    def have_both_answered() -> bool:
        pids.update(process.find_pids())
        return len(pids) == 2

    wait_until(have_both_answered, "both workers")
    victim = min(pids)
    process.popen.terminate()
    wait_until(lambda: process.ask("/readyz") == "503", "readiness to turn 503")
    os.kill(victim, signal.SIGKILL)
    found: set[int] = set()

    def is_replaced() -> bool:
        found.update(process.find_pids())
        return len(found - {victim}) == 2

    wait_until(is_replaced, "a new worker")
    assert {process.ask("/readyz") for _ in range(20)} == {"503"}


def test_a_busy_worker_leaves_new_connections_to_the_other(start: Callable[..., Process]) -> None:
    process = start(workers=2, threads=1)
    with ExitStack() as stack:
        process.hold(stack, 1)
        assert {process.ask("/") for _ in range(20)} == {"200"}


@pytest.mark.parametrize(
    ("beginning", "clients"),
    [
        (b"", 100),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: a", 20),
        (request("/read", "Content-Length: 100", body=b"a", method="POST"), 20),
        (request("/read", "Transfer-Encoding: chunked", body=b"5\r\na", method="POST"), 20),
        (request("/", "Connection: close"), 20),  # and never closes
    ],
    ids=["nothing", "headers", "body", "chunks", "close"],
)
def test_slow_clients_occupy_no_working_thread(start: Callable[..., Process], beginning: bytes, clients: int) -> None:
    process = start(workers=1, threads=1)
    with ExitStack() as stack:
        for _ in range(clients):
            stack.enter_context(process.connect()).sendall(beginning)
        started = time.monotonic()
        assert process.ask("/") == "200"
        assert time.monotonic() - started < 1


def test_a_body_that_was_cut_short_never_reaches_the_application(start: Callable[..., Process]) -> None:
    process = start()
    with process.connect() as connection:
        connection.sendall(request("/read", "Content-Length: 10", body=b"abc", method="POST"))
        connection.shutdown(socket.SHUT_WR)
        assert read_answer(connection) == b""


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (request("/read", "Transfer-Encoding: chunked", body=b"0x3\r\nabc\r\n0\r\n\r\n", method="POST"), 400),
        (request("/read", "Content-Length: 3", "Content-Length: 4", body=b"abcd", method="POST"), 400),
        (request("/", "Content-Length: 3", "Transfer-Encoding: chunked", body=b"0\r\n\r\n", method="POST"), 400),
        (request("/", "Host: y"), 400),
        (request("/", "X-A: a\x1b[31m\x00"), 400),
        (request("/", "Transfer-Encoding: rot13", method="POST"), 501),
        (request("/" + "a" * 10000), 414),
        (request("/", *["X-A: b"] * 500), 431),
    ],
)
def test_a_malformed_request_is_a_problem(start: Callable[..., Process], raw: bytes, status: int) -> None:
    head, _, body = start().send(raw).partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"Content-Type: application/problem+json" in head
    problem = json.loads(body)
    assert problem["status"] == status
    assert f"X-Request-ID: {problem['request_id']}".encode() in head


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        (request("/read", "Content-Length: 1000", body=b"a" * 1000, method="POST"), 1000),
        (request("/read", "Content-Length: 1100", body=b"a" * 1100, method="POST"), 1001),
        (request("/read", "Transfer-Encoding: chunked", body=b"3\r\nabc\r\n0\r\n\r\n", method="POST"), 3),
        (
            request(
                "/read", "Transfer-Encoding: chunked", body=b"800\r\n" + b"a" * 2048 + b"\r\n0\r\n\r\n", method="POST"
            ),
            1001,
        ),
        (request("/read"), 0),
    ],
    ids=["longest", "too long", "chunked", "chunked too long", "none"],
)
def test_the_application_gets_the_whole_body_or_can_see_that_it_is_too_long(
    start: Callable[..., Process], raw: bytes, read: int
) -> None:
    assert start().fetch(raw)["read"] == read


def test_forwarding_headers_are_the_applications_business_and_cannot_be_forged(start: Callable[..., Process]) -> None:
    seen = start().fetch(
        request("/", "X-Forwarded-Proto: https", "X-Forwarded-For: 1.1.1.1", "X_Forwarded_For: 6.6.6.6")
    )
    assert seen["scheme"] == "http"
    assert seen["forwarded_for"] == "1.1.1.1"
