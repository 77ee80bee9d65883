"""Rounds, medians, and the table that they end in."""

from __future__ import annotations

import json
import statistics
import threading
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

ROUNDS = 5


@dataclass
class Line:
    """One line of the table: what was measured, of us and of the peer, and whether that reaches the target."""

    measure: str
    target: str
    ours: str
    peer: str
    result: str
    is_reached: bool


@dataclass(frozen=True)
class Effort:
    """How long a line is measured."""

    rounds: int = ROUNDS
    seconds: float = 2.0


@dataclass
class Report:
    """The lines so far; each is printed as soon as it is known."""

    lines: list[Line] = field(default_factory=list)

    def add(self, measure: str, target: str, *, ours: str, peer: str, result: str, is_reached: bool) -> None:
        """Add a line and print it."""
        line = Line(measure, target, ours, peer, result, bool(is_reached))
        self.lines.append(line)
        mark = "ok  " if line.is_reached else "MISS"
        print(f"{mark} {measure} | {target} | ours {ours} | peer {peer} | {result}", flush=True)

    def compare(
        self,
        measure: str,
        *,
        ours: float,
        peer: float,
        least: float | None = None,
        most: float | None = None,
        unit: str = "",
        note: str = "",
    ) -> None:
        """Add a line about a ratio that has to be ``least`` or more, or ``most`` or less."""
        ratio = ratio_of(ours, peer)
        is_reached = (least is None or ratio >= least) and (most is None or ratio <= most)
        target = f"≥ {least:g} x" if least is not None else f"≤ {most:g} x" if most is not None else "(for comparison)"
        digits = 0 if max(ours, peer) >= 100 else 2
        self.add(
            measure,
            target,
            ours=f"{ours:,.{digits}f}{unit}",
            peer=f"{peer:,.{digits}f}{unit}",
            result=f"{ratio:.2f} x{note}",
            is_reached=is_reached,
        )

    def write(self, path: Path) -> None:
        """Keep the lines as JSON, for the documentation's table and plot."""
        path.write_text(json.dumps([asdict(line) for line in self.lines], indent=1, ensure_ascii=False) + "\n")

    def to_markdown(self) -> str:
        """Return the table as Markdown."""
        rows = ["| measure | to reach | ours | peer | result |", "|---|---|---|---|---|"]
        for line in self.lines:
            mark = "" if line.is_reached else " (**missed**)"
            rows.append(f"| {line.measure} | {line.target} | {line.ours} | {line.peer} | {line.result}{mark} |")
        return "\n".join(rows)


def count_per_second(work: Callable[[int], object], *, threads: int, seconds: float) -> float:
    """Return how often a second ``work`` is done by that many threads; it is given a number that never repeats.

    Raises:
        BaseException: whatever ``work`` raised first.
    """
    counts = [0] * threads
    errors: list[BaseException] = []
    barrier = threading.Barrier(threads + 1)
    ends_at = [0.0]

    def run(place: int) -> None:
        number, count = place * 10_000_019, 0
        try:
            work(number)
            barrier.wait()
            until = ends_at[0]
            while time.perf_counter() < until:
                for _ in range(10):
                    number += 1
                    work(number)
                count += 10
        except BaseException as error:  # noqa: BLE001 - handed to the caller
            errors.append(error)
            barrier.abort()
        counts[place] = count

    workers = [threading.Thread(target=run, args=(place,)) for place in range(threads)]
    for worker in workers:
        worker.start()
    ends_at[0] = time.perf_counter() + seconds + 0.01
    started = time.perf_counter()
    try:
        barrier.wait()
        started = time.perf_counter()
        ends_at[0] = started + seconds
    except threading.BrokenBarrierError:
        pass
    for worker in workers:
        worker.join()
    if errors:
        raise errors[0]
    return sum(counts) / (time.perf_counter() - started)


def interleave(contestants: Mapping[str, Callable[[], float]], *, rounds: int = ROUNDS) -> dict[str, float]:
    """Return the median of each contestant's rounds; the rounds of all are interleaved."""
    results: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds):
        names = list(contestants)
        for name in names if number % 2 == 0 else reversed(names):
            results[name].append(contestants[name]())
    return {name: statistics.median(values) for name, values in results.items()}


def ratio_of(first: float, second: float) -> float:
    """Return how many times ``second`` goes into ``first``."""
    return first / second if second else float("inf")


def percentile(values: list[float], share: float) -> float:
    """Return the value below which that ``share`` of ``values`` lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0
