"""How long it takes from nothing to the first answer: imports, ``create_app()``, one signed-in request."""

from __future__ import annotations

import os
import subprocess
import sys
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
    seconds = interleave(
        {
            "ours": lambda: _start(sys.executable, "run", "/api/v1/users/me", cookie, environ),
            "peer": lambda: _start(str(PEERS_BIN / "python"), peer_module, "/users/me", peer_cookie, peer_environ),
        },
        rounds=effort.rounds,
    )
    report.add(
        f"imports, create_app() and the first answer, beside {FLASK_SECURITY}",
        f"≤ {MOST_SECONDS:g} s",
        ours=f"{seconds['ours']:.2f} s",
        peer=f"{seconds['peer']:.2f} s",
        result=f"{ratio_of(seconds['ours'], seconds['peer']):.2f} x",
        is_reached=seconds["ours"] <= MOST_SECONDS,
    )


def _start(python: str, module: str, path: str, cookie: str, environ: Mapping[str, str]) -> float:
    command = [python, "-m", "bench.peers.first_answer", module, "create_app", path, cookie]
    surroundings = dict(os.environ) | dict(environ)
    return float(subprocess.run(command, cwd=ROOT, env=surroundings, check=True, stdout=subprocess.PIPE).stdout)
