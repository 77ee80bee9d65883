"""Requests a second for ``GET /api/v1/users/me``, against the floor and against those who do the same work."""

from __future__ import annotations

import functools
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bench.measure import Report, interleave, ratio_of
from bench.product.servers import TITLES, Servers

if TYPE_CHECKING:
    from bench.load import Load

LEAST: Final = {"sqlite": 1.0, "postgresql": 1.0, "mariadb": 0.9}


@dataclass(frozen=True)
class Effort:
    """How long a line is measured."""

    rounds: int
    seconds: float


def measure_rates(loads: dict[str, Load], effort: Effort) -> dict[str, float]:
    """Return the median rate of each load; all are warm, and their rounds are interleaved.

    Raises:
        WrongAnswersError: an answer was not what was asked for.
    """
    for load in loads.values():
        load.warm_up()
    runs = {name: functools.partial(load.measure_rate, effort.seconds) for name, load in loads.items()}
    return interleave(runs, rounds=effort.rounds)


def bench_users_me(report: Report, servers: Servers, kind: str, effort: Effort) -> None:
    """Measure the product on one database; where there are peers, on PostgreSQL, they too."""
    has_redis = kind != "sqlite"
    store = "Redis" if has_redis else "memory://"
    database = servers.make_database(kind)
    with ExitStack() as stack:
        product = stack.enter_context(servers.serve_product(database, has_redis=has_redis))
        floor = stack.enter_context(servers.serve_floor(kind, has_redis=has_redis))
        loads = {"ours": servers.load_users_me(database, product), "floor": servers.load_floor(floor)}
        medians = measure_rates(loads, effort)
    ours = medians.pop("ours")
    for name, rate in medians.items():
        least = LEAST[kind]
        ratio = ratio_of(ours, rate)
        report.add(
            f"users/me, three limits, {TITLES[kind]} and {store}, requests/s, against {name}",
            f"≥ {least} x",
            ours=f"{ours:,.0f}",
            peer=f"{rate:,.0f}",
            result=f"{ratio:.2f} x",
            is_reached=ratio >= least,
        )
