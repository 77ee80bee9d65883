"""Load on a server: wrk with the requests that we give it, every answer looked at."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

CONNECTIONS: Final = 16
SCRIPT: Final = Path(__file__).with_suffix(".lua")


class WrongAnswersError(Exception):
    """Not every answer was the one that was asked for; figures of errors are worth nothing."""


@dataclass(frozen=True)
class Load:
    """Requests that are sent over and over, and what every right answer has in its body."""

    path: Path
    port: int

    def warm_up(self) -> None:
        """Send requests for a second, whatever the answers are: connections, caches and pools fill."""
        self._run(1, CONNECTIONS)

    def measure_rate(self, seconds: float, *, connections: int = CONNECTIONS) -> float:
        """Return the requests a second of so many connections, each of which asks again once it is answered.

        Raises:
            WrongAnswersError: there were other answers, or none.
        """
        report = self._run(seconds, connections)
        if report["errors"] or not report["requests"]:
            raise WrongAnswersError(
                f"{report['errors']} of {report['requests']} answers are wrong, such as: {report['example']}"
            )
        return float(report["requests"]) / float(report["seconds"])

    def measure_mean_ms(self, seconds: float) -> float:
        """Return the mean time of an answer to the only client, in milliseconds.

        Raises:
            WrongAnswersError: there were other answers, or none.
        """
        return 1000 / self.measure_rate(seconds, connections=1)

    def _run(self, seconds: float, connections: int) -> dict[str, float | str]:
        begin = str(random.randrange(1_000_000))  # noqa: S311 - the request to begin with, so that no round repeats one
        command = [
            "wrk",
            "--threads",
            "1",
            "--connections",
            str(connections),
            "--duration",
            f"{max(1, round(seconds))}s",
        ]
        command += ["--script", str(SCRIPT), f"http://127.0.0.1:{self.port}", "--", str(self.path), begin]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        report: dict[str, float | str] = json.loads(done.stdout.splitlines()[-1])
        return report


def make_load(path: Path, *, port: int, requests: Iterable[bytes], expected: str) -> Load:
    """Write the requests to ``path`` and return the load of them; every right answer has ``expected`` in its body."""
    with path.open("wb") as file:
        file.write(expected.encode() + b"\n")
        for request in requests:
            file.write(f"{len(request)}\n".encode() + request)
    return Load(path, port)


def compose_request(path: str, *headers: str, port: int, method: str = "GET", body: bytes = b"") -> bytes:
    """Return a request of HTTP/1.1."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", *headers]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def is_installed() -> bool:
    """Say whether wrk is on this machine."""
    return shutil.which("wrk") is not None
