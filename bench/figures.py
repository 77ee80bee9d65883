"""The table and the plot of a run, for the documentation."""

from __future__ import annotations

import json
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final

from bench.measure import Line, Report

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

BAR_HEIGHT: Final = 18
BAR_STEP: Final = 24
LABEL_WIDTH: Final = 260
PLOT_WIDTH: Final = 380
VALUE_WIDTH: Final = 160
OURS: Final = "#2da56f"
PEER: Final = "#9aa3ad"
# The picture has no ground of its own: it stands on a light page and on a dark one.
STYLE: Final = """<style>
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600; font-size: 13px }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } }
</style>"""


@dataclass(frozen=True)
class Bar:
    """One bar: whose, how long, and for a peer how many times as much ours is."""

    label: str
    value: float
    ratio: str = ""

    @property
    def is_ours(self) -> bool:
        """Whether it is the product's."""
        return not self.ratio


def read_report(path: Path) -> Report:
    """Return the report that a run has written."""
    return Report([Line(**line) for line in json.loads(path.read_text())])


def read_number(text: str) -> float:
    """Return the number that a cell of the table begins with."""
    return float(text.split(maxsplit=1)[0].replace(",", ""))


def add_bars(groups: dict[str, list[Bar]], title: str, line: Line, *, peer: str) -> None:
    """Add a line of the table to the group of that title, which begins with ours."""
    bars = groups.setdefault(title, [Bar("Gatehouse", read_number(line.ours))])
    bars.append(Bar(peer, read_number(line.peer), line.result.partition(";")[0]))


def draw_bars(groups: Mapping[str, Sequence[Bar]]) -> str:
    """Return horizontal bars as SVG, each group on a scale of its own."""
    parts: list[str] = []
    top = 0
    for title, bars in groups.items():
        parts.append(f'<text class="title" x="0" y="{top + 15}">{escape(title)}</text>')
        top += BAR_STEP
        largest = max(bar.value for bar in bars)
        for bar in bars:
            width = max(1.0, PLOT_WIDTH * bar.value / largest)
            shown = f"{bar.value:,.0f}" + ("" if bar.is_ours else f" (ours: {bar.ratio})")
            middle = top + BAR_HEIGHT - 5
            parts += [
                f'<text x="{LABEL_WIDTH - 8}" y="{middle}" text-anchor="end">{escape(bar.label)}</text>',
                (
                    f'<rect x="{LABEL_WIDTH}" y="{top}" width="{width:.0f}" height="{BAR_HEIGHT}" rx="3"'
                    f' fill="{OURS if bar.is_ours else PEER}"/>'
                ),
                f'<text x="{LABEL_WIDTH + width + 8:.0f}" y="{middle}">{shown}</text>',
            ]
            top += BAR_STEP
        top += BAR_STEP // 2
    width = LABEL_WIDTH + PLOT_WIDTH + VALUE_WIDTH
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top}" width="{width}" height="{top}">'
    return "\n".join([head, STYLE, *parts, "</svg>"]) + "\n"
