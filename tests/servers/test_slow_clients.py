"""The production server beside clients that send or read slowly, never, or too much at once."""

from __future__ import annotations

import json
import re
import socket
import sys
import threading
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import pytest

from app.server.connection import HEAD_SECONDS

from .harness.serving import CLOSED, get_status, read_answer, request, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from .harness.serving import Process

LONG_BYTES = 128 * 65536
WANTED_SECONDS = 0.1
POST = ("/read", "Content-Length: 100")


def connect_slowly(process: Process, beginning: bytes) -> socket.socket:
    """Connect with a small window, send ``beginning``, and read nothing."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(15)
    client.connect(("127.0.0.1", process.port))
    client.sendall(beginning)
    return client


def measure_p95(process: Process, *, count: int = 40) -> float:
    seconds = []
    for _ in range(count):
        begun = time.monotonic()
        assert process.ask("/") == "200"
        seconds.append(time.monotonic() - begun)
    return sorted(seconds)[int(count * 0.95)]


def read_all(client: socket.socket) -> bytes:
    return b"".join(iter(lambda: client.recv(65536), b""))


def dechunk(body: bytes) -> bytes:
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        whole, body = whole + body[: int(size, 16)], body[int(size, 16) + 2 :]
    return whole


@pytest.mark.parametrize(
    ("beginning", "clients"),
    [
        (b"", 600),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: a", 500),
        (request(*POST, body=b"a", method="POST"), 500),
        (request(*POST, "Expect: 100-continue", method="POST"), 500),
        (request("/read", "Transfer-Encoding: chunked", body=b"5\r\na", method="POST"), 500),
        (request("/") + b"GET / HTTP/1.1\r\n", 500),
        (request("/", "Connection: close"), 100),
        (request("/long"), 50),
        (request("/stream"), 200),
    ],
    ids=["silent", "heads", "bodies", "expecting", "chunks", "kept alive", "never closing", "not reading", "streams"],
)
def test_slow_clients_occupy_no_working_thread(start: Callable[..., Process], beginning: bytes, clients: int) -> None:
    process = start(workers=1, threads=1)
    with ExitStack() as stack:
        for _ in range(clients):
            stack.enter_context(connect_slowly(process, beginning))
        assert measure_p95(process) < WANTED_SECONDS


@pytest.mark.parametrize("path", ["/long", "/stream"])
def test_a_slow_reader_gets_the_whole_answer_and_the_connection_goes_on(
    start: Callable[..., Process], path: str
) -> None:
    process = start(workers=1, threads=1)
    with connect_slowly(process, request(path) + request("/", "Connection: close")) as client:
        time.sleep(0.2)
        answers = read_all(client)
    _, _, rest = answers.partition(b"\r\n\r\n")
    if path == "/stream":
        body, _, second = rest.partition(b"\r\n0\r\n\r\n")
        body = dechunk(body + b"\r\n")
    else:
        body, second = rest[:LONG_BYTES], rest[LONG_BYTES:]
    assert body == b"".join(bytes([number]) * 65536 for number in range(128))
    assert get_status(second) == "200"


def test_a_stream_whose_reader_left_is_closed(start: Callable[..., Process]) -> None:
    process = start(workers=1, threads=1)
    with connect_slowly(process, request("/stream")):
        time.sleep(0.2)
        assert not (process.folder / "closed").exists()
    wait_until((process.folder / "closed").exists, "the application to be told")


def test_a_reader_that_stops_is_given_up(start: Callable[..., Process]) -> None:
    process = start(workers=1, threads=1, worker__SEND_SECONDS=0.2)
    with connect_slowly(process, request("/stream")) as client:
        wait_until((process.folder / "closed").exists, "the application to be told")
        assert len(read_all(client)) < LONG_BYTES


def test_an_answer_that_fails_midway_ends_without_an_end(start: Callable[..., Process]) -> None:
    answer = start().send(request("/fail"))
    assert get_status(answer) == "200"
    assert answer.count(b"HTTP/1.1") == 1
    assert not answer.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize(
    ("beginning", "constants"),
    [
        (b"GET / HTTP/1.1\r\n", {"worker__HEAD_SECONDS": 0.2}),
        (request(*POST, body=b"a", method="POST"), {"worker__REQUEST_SECONDS": 0.2}),
    ],
    ids=["head", "body"],
)
def test_a_request_that_takes_too_long_is_a_problem(
    start: Callable[..., Process], beginning: bytes, constants: dict[str, float]
) -> None:
    process = start(**constants)
    begun = time.monotonic()
    head, _, body = process.send(beginning).partition(b"\r\n\r\n")
    assert get_status(head) == "408"
    assert json.loads(body)["code"] == "request_timeout"
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    ("beginning", "constants"),
    [
        (b"GET / HTTP/1.1\r\nX-Slow: ", {"worker__HEAD_SECONDS": 0.4}),
        (request("/read", "Content-Length: 1000", method="POST"), {"worker__REQUEST_SECONDS": 0.4}),
    ],
    ids=["head", "body"],
)
def test_a_request_that_trickles_in_gets_no_more_time(
    start: Callable[..., Process], beginning: bytes, constants: dict[str, float]
) -> None:
    process = start(workers=1, threads=1, **constants)
    begun = time.monotonic()
    with process.connect() as connection:
        connection.sendall(beginning)
        connection.settimeout(0.1)
        answer = b""
        while not answer and time.monotonic() - begun < 5:
            connection.sendall(b"a")
            with suppress(TimeoutError):
                answer = connection.recv(65536)
    assert get_status(answer) == "408"


def test_a_request_in_pieces_is_one_request(start: Callable[..., Process]) -> None:
    process = start(workers=1, threads=1)
    whole = request(
        "/read", "Transfer-Encoding: chunked", body=b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-T: a\r\n\r\n", method="POST"
    )
    with process.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for raw in (whole, request("/read", "Content-Length: 5", "Connection: close", body=b"abcde", method="POST")):
            for position in range(len(raw)):
                connection.sendall(raw[position : position + 1])
            assert b'"read": 5' in read_answer(connection)


def test_requests_sent_at_once_are_answered_in_order(start: Callable[..., Process]) -> None:
    process = start(workers=1, threads=4)
    bodies = [b"a" * length for length in range(30)]
    requests = [request("/read", f"Content-Length: {len(body)}", body=body, method="POST") for body in bodies]
    with process.connect() as connection:
        connection.sendall(b"".join(requests))
        connection.shutdown(socket.SHUT_WR)
        answers = read_all(connection)
    seen = [int(length) for length in re.findall(rb'"read": (\d+)', answers)]
    assert seen == list(range(30))


def test_a_client_that_expects_is_told_to_go_on(start: Callable[..., Process]) -> None:
    process = start()
    with process.connect() as connection:
        connection.sendall(request(*POST, "Expect: 100-continue", "Connection: close", method="POST"))
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"a" * 100)
        assert b'"read": 100' in read_all(connection)
    whole = request(*POST, "Expect: 100-continue", "Connection: close", body=b"a" * 100, method="POST")
    assert get_status(process.send(whole)) == "200", "who sends the body at once need not be told"


def test_newcomers_get_in_while_kept_alive_connections_keep_all_threads_busy(start: Callable[..., Process]) -> None:
    process = start(workers=2, threads=1)
    over = threading.Event()

    def ask_on() -> None:
        with process.connect() as connection:
            while not over.is_set():
                connection.sendall(request("/nap"))
                read_answer(connection)

    threads = [threading.Thread(target=ask_on) for _ in range(12)]
    for thread in threads:
        thread.start()
    try:
        begun = time.monotonic()
        assert [process.ask("/") for _ in range(5)] == ["200"] * 5
        assert time.monotonic() - begun < 2
    finally:
        over.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("constants", [{}, {"master__RESERVED_FILES": 0}], ids=["reserved", "used up"])
def test_few_file_descriptors_and_many_half_sent_requests_keep_nobody_out(
    start: Callable[..., Process], constants: dict[str, float]
) -> None:
    process = start(workers=1, threads=2, files=64, **constants)
    with ExitStack() as stack:
        for _ in range(80):
            stack.enter_context(process.connect()).sendall(b"GET / HTTP/1.1\r\n")
        begun = time.monotonic()
        assert process.ask("/") == "200"
        assert time.monotonic() - begun < HEAD_SECONDS / 2, "room was made before their time was over"
        assert measure_p95(process) < WANTED_SECONDS


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has more loopback addresses than one")
def test_who_has_the_most_connections_makes_room_for_others(start: Callable[..., Process]) -> None:
    process = start(workers=1, threads=1, master__MAX_CONNECTIONS=100)
    with ExitStack() as stack:
        neighbour = stack.enter_context(process.connect("127.0.0.3"))
        neighbour.sendall(request("/")[:10])
        greedy = [stack.enter_context(process.connect("127.0.0.2")) for _ in range(200)]
        assert process.ask("/") == "200"
        assert greedy[0].recv(1) == b"", "the oldest has made room"
        neighbour.sendall(request("/")[10:])
        assert get_status(read_answer(neighbour)) == "200"


def test_bytes_that_wait_are_bounded_for_all_clients_together(start: Callable[..., Process]) -> None:
    process = start(workers=1, threads=1, worker__MAX_BUFFERED_BYTES=40_000)
    unfinished = request("/read", "Content-Length: 1000", body=b"a" * 900, method="POST")
    with ExitStack() as stack:
        clients = [stack.enter_context(process.connect()) for _ in range(100)]
        for client in clients:
            client.sendall(unfinished)
        wait_until(lambda: process.ask("/") == "200", "an answer")
        clients[-1].sendall(b"a" * 100)
        assert get_status(read_answer(clients[-1])) == "200", "the newest is still there"
        clients[0].settimeout(5)
        assert get_status(read_answer(clients[0])) == CLOSED, "the oldest has made room"
