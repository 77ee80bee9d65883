"""Write the documentation's table and plot from the figures of a run.

python -m bench.ratelimit.figures bench/ratelimit/results.json docs
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.figures import Bar, add_bars, draw_bars, read_report

if TYPE_CHECKING:
    from bench.measure import Report

HEAD: Final = """# Figures of the rate limiter

Two cores, Redis 7.0 on loopback, client and server on cores of their own; medians of five interleaved rounds against
Flask-Limiter 4.1. Ratios hold elsewhere, absolutes do not. `python -m bench.ratelimit.run` prints them all. What is
missed with eight threads is explained in [ADR 12](adr/0012-limiter-floor.md). For the slow decisions while Redis is
silent: on the same idle machine a process that only sleeps was late by more than 15 ms nine times in 45 s.

![decisions a second](ratelimit-figures.svg)

"""


def write_figures(results: Path, folder: Path) -> None:
    """Write ``ratelimit-figures.md`` and ``ratelimit-figures.svg`` into ``folder``."""
    report = read_report(results)
    (folder / "ratelimit-figures.md").write_text(f"{HEAD}{report.to_markdown()}\n")
    (folder / "ratelimit-figures.svg").write_text(draw_bars(_list_bars(report)))


def _list_bars(report: Report) -> dict[str, list[Bar]]:
    """Return decisions a second, ours above each peer's."""
    groups: dict[str, list[Bar]] = {}
    for line in report.lines:
        if line.measure.startswith("decisions/s") and "Flask-Limiter" in line.measure:
            label, _, peer = line.measure.partition("header data, ")[2].partition(", against ")
            title = f"Decisions a second, three limits with header data, {label}"
            add_bars(groups, title, line, peer=peer)
    return groups


if __name__ == "__main__":
    write_figures(Path(sys.argv[1]), Path(sys.argv[2]))
