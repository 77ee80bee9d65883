"""Load on a server: wrk with the requests that we give it, every answer looked at."""

from __future__ import annotations

import functools
import json
import random
import shutil
import statistics
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from bench.measure import interleave

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from bench.measure import Effort
    from bench.programs import Program

CONNECTIONS: Final = 16
SCRIPT: Final = Path(__file__).with_suffix(".lua")


class WrongAnswersError(Exception):
    """Not every answer was the one that was asked for; figures of errors are worth nothing."""


@dataclass(frozen=True)
class Sample:
    """Requests a second, and how long the median and the slowest hundredth waited, in milliseconds."""

    rate: float
    median_ms: float
    p99_ms: float


@dataclass
class Load:
    """Requests that are sent to a program over and over, and what every right answer has in its body."""

    path: Path
    program: Program
    cpu_us: list[float] = field(default_factory=list)

    def warm_up(self, *, connections: int = CONNECTIONS) -> None:
        """Send requests for a second, whatever the answers are: connections, caches and pools fill."""
        self._run(1, connections)

    def measure_rate(self, seconds: float, *, connections: int = CONNECTIONS) -> float:
        """Return the requests a second; see ``measure``."""
        return self.measure(seconds, connections=connections).rate

    def measure(self, seconds: float, *, connections: int = CONNECTIONS) -> Sample:
        """Return how so many connections are served, each of which asks again once it is answered.

        Raises:
            WrongAnswersError: there were other answers, or none.
        """
        before = self.program.measure_cpu_seconds()
        report = self._run(seconds, connections)
        spent = self.program.measure_cpu_seconds() - before
        if report["errors"] or not report["requests"]:
            raise WrongAnswersError(
                f"{report['errors']} of {report['requests']} answers are wrong, such as: {report['example']}"
            )
        self.cpu_us.append(spent * 1e6 / float(report["requests"]))
        return Sample(
            rate=float(report["requests"]) / float(report["seconds"]),
            median_ms=float(report["median_ms"]),
            p99_ms=float(report["p99_ms"]),
        )

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
        command += ["--script", str(SCRIPT), f"http://127.0.0.1:{self.program.port}", "--", str(self.path), begin]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        self.program.settle()
        report: dict[str, float | str] = json.loads(done.stdout.splitlines()[-1])
        return report


def measure_rates(
    loads: dict[str, Load],
    effort: Effort,
    *,
    connections: int = CONNECTIONS,
    others: Mapping[str, Callable[[], float]] = MappingProxyType({}),
) -> dict[str, float]:
    """Return the median rate of each load, and of ``others``; all are warm, and their rounds are interleaved.

    Raises:
        WrongAnswersError: an answer was not what was asked for.
    """
    for load in loads.values():
        load.warm_up(connections=connections)
    runs = {
        name: functools.partial(load.measure_rate, effort.seconds, connections=connections)
        for name, load in loads.items()
    }
    return interleave({**runs, **others}, rounds=effort.rounds)


def describe_cpu(ours: Load, peer: Load) -> str:
    """Return how much of its own processes' time each spent on a request, which a busy machine leaves alone."""
    ours_us, peer_us = statistics.median(ours.cpu_us), statistics.median(peer.cpu_us)
    return f"; CPU a request: {ours_us:,.0f} µs, {peer_us:,.0f} µs"


def make_load(path: Path, program: Program, *, requests: Iterable[bytes], expected: str) -> Load:
    """Write the requests to ``path`` and return the load of them; every right answer has ``expected`` in its body."""
    with path.open("wb") as file:
        file.write(expected.encode() + b"\n")
        for request in requests:
            file.write(f"{len(request)}\n".encode() + request)
    return Load(path, program)


def compose_request(path: str, *headers: str, port: int, method: str = "GET", body: bytes = b"") -> bytes:
    """Return a request of HTTP/1.1."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", *headers]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def is_installed() -> bool:
    """Say whether wrk is on this machine."""
    return shutil.which("wrk") is not None
