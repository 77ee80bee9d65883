"""Print every figure of the product, each with what it is measured against: see docs/figures.md.

python -m bench.product.run [--quick] [--only WORD]

A whole run writes results.json beside this file, and docs/figures.md and docs/figures.svg.
"""

from __future__ import annotations

import argparse
import functools
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench import load
from bench.measure import Effort, Report
from bench.product.figures import write_figures
from bench.product.servers import KINDS, Servers
from bench.product.sign_ins import bench_sign_ins
from bench.product.start import bench_start
from bench.product.user_page import bench_user_page
from bench.product.users_me import bench_growth, bench_users_me
from bench.programs import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

RESULTS: Final = Path(__file__).with_name("results.json")


def list_benches(report: Report, servers: Servers, *, is_quick: bool) -> dict[str, Callable[[], None]]:
    """Return every benchmark by its name."""
    effort = Effort(rounds=3, seconds=1) if is_quick else Effort()
    middle, most = (2_000, 10_000) if is_quick else (100_000, 1_000_000)
    benches: dict[str, Callable[[], None]] = {}
    for kind in KINDS:
        benches[f"users-me-{kind}"] = functools.partial(bench_users_me, report, servers, kind, effort)
    benches["start"] = functools.partial(bench_start, report, servers, effort)
    for kind in KINDS:
        benches[f"sign-ins-{kind}"] = functools.partial(bench_sign_ins, report, servers, kind, effort)
    for kind in KINDS:
        benches[f"user-page-{kind}"] = functools.partial(bench_user_page, report, servers, kind, effort, users=most)
    for kind in KINDS:
        benches[f"growth-{kind}"] = functools.partial(bench_growth, report, servers, kind, effort, sizes=(middle, most))
    return benches


def main() -> None:
    """Run the benchmarks and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="short rounds and few users: a look, not a result")
    parser.add_argument("--only", default="", help="only the benchmarks whose name has this word")
    arguments = parser.parse_args()
    if not load.is_installed():
        sys.exit("wrk is missing. On Debian or Ubuntu: apt-get install wrk")
    # Asked to end, stop the servers too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    report = Report()
    has_errors = False
    with Servers() as servers:
        for name, bench in list_benches(report, servers, is_quick=arguments.quick).items():
            if arguments.only in name:
                try:
                    bench()
                except load.WrongAnswersError as error:
                    has_errors = True
                    report.add(name, "no errors", ours="-", peer="-", result=str(error), is_reached=False)
    print("\n" + report.to_markdown())
    if has_errors:
        sys.exit("There were wrong answers, so nothing is kept: see the table.")
    if not arguments.quick and not arguments.only:
        report.write(RESULTS)
        write_figures(RESULTS, ROOT / "docs")


if __name__ == "__main__":
    main()
