"""The server of ``tiny.py`` as a process of its own, and raw requests to it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

HOST = "127.0.0.1"
ROOT = Path(__file__).resolve().parents[3]
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

    def __init__(
        self,
        folder: Path,
        *,
        workers: int = 2,
        threads: int = 4,
        delay: float = 0.0,
        files: int = 0,
        **constants: float,
    ) -> None:
        self.folder = folder
        with socket.create_server((HOST, 0)) as probe:
            self.port: int = probe.getsockname()[1]
        named = {name.replace("__", "."): value for name, value in constants.items()}
        arguments = [self.port, workers, threads, delay, folder, json.dumps(named)]
        command = [sys.executable, "-m", "tests.servers.tiny", *map(str, arguments)]
        if files:
            command = ["sh", "-c", f'ulimit -n {files}; exec "$@"', "sh", *command]
        self.popen = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
        try:
            wait_until(lambda: self.ask("/") == "200", "the server")
        except BaseException:
            self.kill()
            raise

    def connect(self, source: str | None = None) -> socket.socket:
        """Connect, from ``source`` if given, which on Linux may be any address of 127.0.0.0/8."""
        # Not bound where it need not be: a client may get the very port that the server is to have.
        address = None if source is None else (source, 0)
        return socket.create_connection((HOST, self.port), timeout=DEADLINE_SECONDS, source_address=address)

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
