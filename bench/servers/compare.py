"""Compare WSGI servers: speed, memory, start, and what they do when things go wrong.

    .venv/bin/python -m bench.servers.compare

Needs ``wrk``, Linux, and the servers of ``requirements.txt`` beside this file. Takes about four minutes. The servers of
one size run side by side and are measured in turn, round after round, so that what else the machine does falls on all
of them alike; each figure is the median of the rounds.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import os
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench import load
from bench.servers import probes, target

SERVERS = ("gatehouse", "gunicorn", "granian", "waitress", "cheroot")
SIZES = ((1, 1), (1, 4), (1, 8), (2, 1), (2, 4), (2, 8))
ROUTES = ("/json", "/query")


def compare_speed(names: list[str], *, rounds: int, seconds: float) -> dict[str, tuple[float, float]]:
    """Print the tables of both routes; return each server's memory and start time at 2 x 4."""
    samples: collections.defaultdict[tuple[str, str, tuple[int, int]], list[load.Sample]] = collections.defaultdict(
        list
    )
    costs: dict[str, tuple[float, float]] = {}
    folder = Path(os.environ["BENCH_DATABASE"]).parent
    for size in SIZES:
        with ExitStack() as stack:
            started = {
                name: stack.enter_context(probes.Server(name, workers=size[0], threads=size[1])) for name in names
            }
            loads = {
                (name, route): load.make_load(
                    folder / f"{name}{route.replace('/', '-')}",
                    server,
                    requests=[load.compose_request(route, port=server.port)],
                    expected="{",
                )
                for name, server in started.items()
                for route in ROUTES
            }
            for _ in range(rounds):
                for route in ROUTES:
                    for name in names:
                        samples[name, route, size].append(loads[name, route].measure(seconds))
            if size == (2, 4):
                costs = {name: (server.measure_memory_mib(), server.start_seconds) for name, server in started.items()}
    for route in ROUTES:
        print(f"\n{route}: requests/s (ratio to {names[0]}), p50 / p99 in ms, {load.CONNECTIONS} connections\n")
        print("| workers x threads | " + " | ".join(names) + " |\n|---|" + "---|" * len(names))
        for size in SIZES:
            cells = []
            base = statistics.median(sample.rate for sample in samples[names[0], route, size])
            for name in names:
                columns = zip(*map(dataclasses.astuple, samples[name, route, size]), strict=True)
                rate, p50, p99 = map(statistics.median, columns)
                cells.append(f"{rate:.0f} ({rate / base:.2f}) {p50:.1f} / {p99:.0f}")
            print(f"| {size[0]} x {size[1]} | " + " | ".join(cells) + " |", flush=True)
    return costs


def compare_behaviour(names: list[str]) -> None:
    """Print what each server does with signals, killed workers, slow clients and malformed requests."""
    for title, probe in probes.PROBES.items():
        print(f"\n{title}\n", flush=True)
        results = {name: probe(name) for name in names}
        print("| | " + " | ".join(names) + " |\n|---|" + "---|" * len(names))
        keys = list(dict.fromkeys(key for result in results.values() for key in result))
        for key in keys:
            cells = [str(results[name].get(key, "")).replace("'", "").strip("{}") for name in names]
            print(f"| {key} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--servers", nargs="+", default=list(SERVERS), choices=SERVERS)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=int, default=1, help="of each measurement")
    parser.add_argument("--only", choices=["speed", "behaviour"])
    options = parser.parse_args()
    if not load.is_installed():
        sys.exit("wrk is missing. On Debian or Ubuntu: apt-get install wrk")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BENCH_DATABASE"] = str(Path(folder) / "bench.db")
        target.fill(Path(os.environ["BENCH_DATABASE"]))
        if options.only != "behaviour":
            costs = compare_speed(options.servers, rounds=options.rounds, seconds=options.seconds)
            print("\n2 x 4 after the load\n\n| | memory MiB (PSS) | start s |\n|---|---|---|")
            for name, (memory, start) in costs.items():
                print(f"| {name} | {memory:.0f} | {start:.2f} |")
        if options.only != "speed":
            compare_behaviour(options.servers)


if __name__ == "__main__":
    main()
