"""Print every figure of the limiter's table, each with its peer beside it.

python -m bench.ratelimit.run [--quick] [--only WORD] [--json FILE]
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench.measure import Report
from bench.ratelimit import accuracy, outages, sizes, strict, throughput
from gatehouse.testing.servers.redis import running

if TYPE_CHECKING:
    from collections.abc import Callable


def main() -> None:
    """Run the benchmarks and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter rounds: a look, not a result")
    parser.add_argument("--only", default="", help="only the benchmarks whose name has this word")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    # Asked to end, stop the servers too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    logging.getLogger("app.ratelimit").setLevel(logging.CRITICAL)
    seconds = 0.2 if arguments.quick else throughput.SECONDS
    freeze_seconds = 5.0 if arguments.quick else 60.0
    failovers = 3 if arguments.quick else 20
    report = Report()
    with running() as server:
        benches: dict[str, Callable[[], None]] = {
            "roundtrips": lambda: accuracy.bench_round_trips(report, server),
            "decisions": lambda: throughput.bench_decisions(report, server, seconds=seconds),
            "flask": lambda: throughput.bench_flask(report, server, seconds=seconds),
            "memory-store": lambda: throughput.bench_memory_store(report),
            "bytes": lambda: sizes.bench_bytes(report, server),
            "window-cost": lambda: sizes.bench_window_cost(report, server),
            "many-keys": lambda: sizes.bench_many_keys(report),
            "adversary": lambda: accuracy.bench_adversary(report, server),
            "processes": lambda: accuracy.bench_processes(report, server),
            "clocks": lambda: accuracy.bench_clocks(report, server),
            "strict": lambda: strict.bench_strict(report),
            "frozen": lambda: outages.bench_frozen(report, seconds=freeze_seconds),
            "cluster": lambda: outages.bench_cluster(report, failovers=failovers),
            "sentinel": lambda: outages.bench_sentinel(report),
        }
        for name, bench in benches.items():
            if arguments.only not in name:
                continue
            with (
                throughput.apart(server) if name in {"decisions", "flask", "window-cost"} else contextlib.nullcontext()
            ):
                bench()
    print("\n" + report.to_markdown())
    if arguments.json:
        report.write(arguments.json)


if __name__ == "__main__":
    main()
