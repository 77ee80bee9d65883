"""Sign-ins a second, against bare verifications of the same passwords on the same cores."""

from __future__ import annotations

import functools
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from bench.load import measure_rates
from bench.product.servers import TITLES, Servers
from bench.programs import ROOT

if TYPE_CHECKING:
    from bench.measure import Effort, Report

# The customary library is what is to be reached; libsodium is what the product calls, and the shortest time there is.
LEAST: Final = {"argon2-cffi": 0.9, "libsodium": None}
# The product's default. Of four threads three may check passwords, and whoever comes fourth is refused.
THREADS: Final = "16"
# Half as many as the passwords that one worker takes on, should it be given all connections.
CONNECTIONS: Final = 6


def bench_sign_ins(report: Report, servers: Servers, kind: str, effort: Effort) -> None:
    """Measure signing in on one database."""
    database = servers.make_database(kind)

    def verify(library: str) -> float:
        command = [sys.executable, "-m", "bench.peers.verifications", library, str(effort.seconds)]
        return float(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)

    with servers.serve_product(database, has_redis=kind != "sqlite", THREADS=THREADS) as product:
        loads = {"ours": servers.load_sign_ins(database, product)}
        bare = {library: functools.partial(verify, library) for library in LEAST}
        rates = measure_rates(loads, effort, connections=CONNECTIONS, others=bare)
    for library, least in LEAST.items():
        report.compare(
            f"sign-ins/s, {TITLES[kind]}, against bare Argon2id verifications/s by {library}",
            ours=rates["ours"],
            peer=rates[library],
            least=least,
        )
