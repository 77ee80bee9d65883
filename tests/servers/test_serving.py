"""The production server as processes: how it stops, what it replaces, whom it refuses."""

from __future__ import annotations

import collections
import json
import os
import signal
import socket
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .harness.serving import DEADLINE_SECONDS, REFUSED, get_status, read_answer, request, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .harness.serving import Process


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


def test_a_kept_alive_connection_that_asks_nothing_does_not_hold_up_the_end(start: Callable[..., Process]) -> None:
    process = start(worker__DRAIN_IDLE_SECONDS=0.1)
    with process.connect() as connection:
        connection.sendall(request("/"))
        read_answer(connection)
        begun = time.monotonic()
        process.popen.terminate()
        assert process.wait() == 0
    assert time.monotonic() - begun < 8


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
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-A: " + b"a" * 70_000, 431),
        (b"GET / HTTP/1.1\nHost: x\n\n", 400),
        (request("/", "Expect: tea"), 417),
        (request("/read", "Transfer-Encoding: chunked", body=b"1;" + b"a" * 9000, method="POST"), 400),
        (
            request(
                "/read", "Transfer-Encoding: chunked", body=(b"1;" + b"a" * 100 + b"\r\na\r\n") * 700, method="POST"
            ),
            400,
        ),
    ],
)
def test_a_malformed_request_is_a_problem(start: Callable[..., Process], raw: bytes, status: int) -> None:
    head, _, body = start().send(raw).partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"Content-Type: application/problem+json" in head
    problem = json.loads(body)
    assert set(problem) == {"type", "title", "status", "detail", "code", "request_id"}
    assert problem["status"] == status
    assert problem["detail"].endswith(".")
    assert problem["type"] == f"urn:gatehouse:problem:{problem['code']}"
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


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a master that its worker was stopped")
@pytest.mark.parametrize("delay", [0.0, 60.0], ids=["serving", "draining"])
def test_a_worker_that_was_stopped_is_replaced_within_seconds(start: Callable[..., Process], delay: float) -> None:
    process = start(workers=2, threads=1, delay=delay)
    if delay:
        process.popen.terminate()
        wait_until(lambda: process.ask("/readyz") == "503", "readiness to turn 503")
    victim = min(process.find_pids())
    os.kill(victim, signal.SIGSTOP)
    begun = time.monotonic()
    wait_until(lambda: not Path(f"/proc/{victim}").exists(), "the stopped worker to go")
    assert time.monotonic() - begun < 5
    assert {process.ask("/") for _ in range(20)} == {"200"}
