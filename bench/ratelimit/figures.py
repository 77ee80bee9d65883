"""Write the documentation's table and plot from the figures of a run.

python -m bench.ratelimit.figures bench/ratelimit/results.json docs
"""

from __future__ import annotations

import json
import sys
from html import escape
from pathlib import Path
from typing import Any

BAR_HEIGHT = 18
LABEL_WIDTH = 330
PLOT_WIDTH = 460
HEAD = """# Figures of the rate limiter

Two cores, Redis 7.0 on loopback, client and server on cores of their own; medians of five interleaved rounds against
Flask-Limiter 4.1. Ratios hold elsewhere, absolutes do not. `python -m bench.ratelimit.run` prints them all. What is
missed with eight threads is explained in [ADR 12](adr/0012-limiter-floor.md). For the slow decisions while Redis is
silent: on the same idle machine a process that only sleeps was late by more than 15 ms nine times in 45 s.

![decisions a second](ratelimit-figures.svg)

"""
OURS = "#2f6f4f"
PEER = "#b9b9b9"


def write_figures(results: Path, folder: Path) -> None:
    """Write ``ratelimit-figures.md`` and ``ratelimit-figures.svg`` into ``folder``."""
    lines = json.loads(results.read_text())
    rows = ["| measure | to reach | ours | peer | result |", "|---|---|---|---|---|"]
    for line in lines:
        mark = "" if line["is_reached"] else " (**missed**)"
        rows.append(
            f"| {line['measure']} | {line['target']} | {line['ours']} | {line['peer']} | {line['result']}{mark} |"
        )
    (folder / "ratelimit-figures.md").write_text(HEAD + "\n".join(rows) + "\n")
    (folder / "ratelimit-figures.svg").write_text(_draw(lines))


def _draw(lines: list[dict[str, Any]]) -> str:
    """Return decisions a second as horizontal bars, ours above each peer's."""
    bars: list[tuple[str, float, str]] = []
    for line in lines:
        if line["measure"].startswith("decisions/s") and "Flask-Limiter" in line["measure"]:
            _, _, rest = line["measure"].partition("header data, ")
            label, _, peer = rest.partition(", against ")
            ours = (f"{label}: ours", float(line["ours"].replace(",", "")), OURS)
            if ours not in bars:
                bars.append(ours)
            bars.append((peer, float(line["peer"].replace(",", "")), PEER))
    largest = max((value for _, value, _ in bars), default=1.0)
    height = len(bars) * (BAR_HEIGHT + 4) + 30
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{LABEL_WIDTH + PLOT_WIDTH + 90}" height="{height}"'
            ' font-family="sans-serif" font-size="12">'
        ),
        '<text x="4" y="16" font-weight="bold">Decisions a second, three limits with header data</text>',
    ]
    for place, (label, value, colour) in enumerate(bars):
        top = 26 + place * (BAR_HEIGHT + 4)
        width = max(1.0, PLOT_WIDTH * value / largest)
        parts += [
            f'<text x="{LABEL_WIDTH - 6}" y="{top + 13}" text-anchor="end">{escape(label)}</text>',
            f'<rect x="{LABEL_WIDTH}" y="{top}" width="{width:.0f}" height="{BAR_HEIGHT}" fill="{colour}"/>',
            f'<text x="{LABEL_WIDTH + width + 4:.0f}" y="{top + 13}">{value:,.0f}</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    write_figures(Path(sys.argv[1]), Path(sys.argv[2]))
