"""Write the documentation's table and plot from the figures of a run.

python -m bench.product.figures bench/product/results.json docs
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.figures import Bar, add_bars, draw_bars, read_report
from bench.product.users_me import USERS_ME

if TYPE_CHECKING:
    from bench.measure import Report

HEAD: Final = """# Figures

What a guarded request, a sign-in, a page of users and a start cost, each against something that does the same work or
the least of it. `./scripts/bench.sh` installs and starts what it needs and measures all of it anew, in a quarter of an
hour on two cores. Ratios hold elsewhere; absolutes do not.

![requests a second](figures.svg)

Every figure is the median of five rounds or more, in which the programs take turns, of a load by `wrk` with 16
connections (6 for sign-ins, one for a page) on the same cores. Every answer is looked at: one that is not 200, or not
the user's own, fails the run. Programs have 2 workers of 4 threads, PostgreSQL and MariaDB put each commit on the disk.
The second figures, of CPU time, are those of the programs' own processes alone: less disturbed by whatever else the
machine does, and without what they have the database do.

- **The floor** is plain Flask under the product's own server: one user by SQLAlchemy's ORM, one `EVAL "return 1"` by
  redis-py, the user as JSON. No session, no limit, no permission.
- **Flask-Security-Too + Flask-Limiter** under Granian: the session is Flask's signed cookie, the user is read from
  PostgreSQL, three fixed windows in Redis.
- **Django + django-ratelimit** under Granian: sessions in the cache and the database (`cached_db`), connections kept
  open, three windows in Redis.
- **fastapi-users + slowapi** under uvicorn with uvloop, httptools and asyncpg: tokens in Redis, three windows there.

Each does less than the product: no roles or permissions in the answer, no headers about the limits, no session that
can be listed and ended. [ADR 22](adr/0022-measuring.md) says why they are set up so.

"""


def write_figures(results: Path, folder: Path) -> None:
    """Write ``figures.md`` and ``figures.svg`` into ``folder``."""
    report = read_report(results)
    (folder / "figures.md").write_text(f"{HEAD}{report.to_markdown()}\n")
    (folder / "figures.svg").write_text(draw_bars(_list_bars(report)))


def _list_bars(report: Report) -> dict[str, list[Bar]]:
    """Return requests a second of the own user's route, and sign-ins a second, ours above the others'."""
    groups: dict[str, list[Bar]] = {}
    for line in report.lines:
        what, _, peer = line.measure.partition(", against ")
        if what.startswith(USERS_ME):
            title = f"“Who am I?”, requests a second, {what.removeprefix(f'{USERS_ME}, ').removesuffix(', requests/s')}"
        elif what.startswith("sign-ins/s"):
            title = f"Sign-ins a second, {what.removeprefix('sign-ins/s, ')}"
        else:
            continue
        add_bars(groups, title, line, peer=peer.replace("Argon2id verifications/s by", "verifications,"))
    return groups


if __name__ == "__main__":
    write_figures(Path(sys.argv[1]), Path(sys.argv[2]))
