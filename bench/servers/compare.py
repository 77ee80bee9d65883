"""Compare WSGI servers: speed, memory, start, and what they do when things go wrong.

    .venv/bin/python bench/servers/compare.py

Needs ``wrk``, Linux, and the servers of ``requirements.txt`` beside this file. Takes about four minutes. The servers of
one size run side by side and are measured in turn, round after round, so that what else the machine does falls on all
of them alike; each figure is the median of the rounds.
"""

from __future__ import annotations

import argparse
import collections
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import probes  # noqa: E402 - this folder is no package
import target  # noqa: E402

SERVERS = ("gatehouse", "gunicorn", "granian", "waitress", "cheroot")
SIZES = ((1, 1), (1, 4), (1, 8), (2, 1), (2, 4), (2, 8))
ROUTES = ("/json", "/query")
CONNECTIONS = 16
UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0}

Sample = tuple[float, float, float]


def run_wrk(port: int, route: str, seconds: float) -> Sample:
    """Return requests a second, and the median and 99th percentile in milliseconds."""
    url = f"http://{probes.HOST}:{port}{route}"
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", url]
    report = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rate = float(re.findall(r"Requests/sec: *([\d.]+)", report)[0])
    latencies = dict(re.findall(r"(50|99)% +([\d.]+[a-z]+)", report))

    def in_milliseconds(text: str) -> float:
        number, unit = re.findall(r"([\d.]+)([a-z]+)", text)[0]
        return float(number) * UNITS[unit]

    return rate, in_milliseconds(latencies["50"]), in_milliseconds(latencies["99"])


def compare_speed(names: list[str], *, rounds: int, seconds: float) -> dict[str, tuple[float, float]]:
    """Print the tables of both routes; return each server's memory and start time at 2 x 4."""
    samples: collections.defaultdict[tuple[str, str, tuple[int, int]], list[Sample]] = collections.defaultdict(list)
    costs: dict[str, tuple[float, float]] = {}
    for size in SIZES:
        with ExitStack() as stack:
            started = {
                name: stack.enter_context(probes.Server(name, workers=size[0], threads=size[1])) for name in names
            }
            for _ in range(rounds):
                for route in ROUTES:
                    for name, server in started.items():
                        samples[name, route, size].append(run_wrk(server.port, route, seconds))
            if size == (2, 4):
                costs = {name: (server.measure_memory_mib(), server.start_seconds) for name, server in started.items()}
    for route in ROUTES:
        print(f"\n{route}: requests/s (ratio to {names[0]}), p50 / p99 in ms, {CONNECTIONS} connections\n")
        print("| workers x threads | " + " | ".join(names) + " |\n|---|" + "---|" * len(names))
        for size in SIZES:
            cells = []
            base = statistics.median(sample[0] for sample in samples[names[0], route, size])
            for name in names:
                rate, p50, p99 = (statistics.median(column) for column in zip(*samples[name, route, size], strict=True))
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
    if shutil.which("wrk") is None:
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
