"""How long it takes from nothing to the first answer: imports, ``create_app()``, one signed-in request."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from bench.measure import interleave, ratio_of
from bench.product.servers import FLASK_SECURITY, PEERS, PEERS_BIN, Servers, make_cookies, make_environ
from bench.programs import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.measure import Effort, Report

MOST_SECONDS: Final = 1.0


def bench_start(report: Report, servers: Servers, effort: Effort) -> None:
    """Measure the product and the peer that is built of the same parts."""
    database = servers.make_database("postgresql")
    environ = make_environ(database.url, RATELIMIT_STORAGE_URI=servers.redis_url)
    cookie = make_cookies(database)[0]
    peer_cookie = servers.make_peer_cookies(FLASK_SECURITY)[0]
    peer_environ = servers.make_peer_environ(FLASK_SECURITY)
    peer_module = PEERS[FLASK_SECURITY].module
    starts = {
        "ours": _Start(sys.executable, "run", "/api/v1/users/me", cookie, environ),
        "peer": _Start(str(PEERS_BIN / "python"), peer_module, "/users/me", peer_cookie, peer_environ),
    }
    seconds = interleave({name: start.measure for name, start in starts.items()}, rounds=effort.rounds)
    cpu = {name: statistics.median(start.cpu_seconds) for name, start in starts.items()}
    report.add(
        f"imports, create_app() and the first answer, beside {FLASK_SECURITY}",
        f"≤ {MOST_SECONDS:g} s",
        ours=f"{seconds['ours']:.2f} s",
        peer=f"{seconds['peer']:.2f} s",
        result=f"{ratio_of(seconds['ours'], seconds['peer']):.2f} x; CPU: {cpu['ours']:.2f} s, {cpu['peer']:.2f} s",
        is_reached=seconds["ours"] <= MOST_SECONDS,
    )


@dataclass
class _Start:
    """A program that is started over and over."""

    python: str
    module: str
    path: str
    cookie: str
    environ: Mapping[str, str]
    cpu_seconds: list[float] = field(default_factory=list)

    def measure(self) -> float:
        """Return the seconds from nothing to the first answer."""
        command = [self.python, "-m", "bench.peers.first_answer", self.module, "create_app", self.path, self.cookie]
        surroundings = dict(os.environ) | dict(self.environ)
        done = subprocess.run(command, cwd=ROOT, env=surroundings, check=True, stdout=subprocess.PIPE, text=True)
        seconds, cpu_seconds = map(float, done.stdout.split())
        self.cpu_seconds.append(cpu_seconds)
        return seconds
