"""Requests a second for ``GET /api/v1/users/me``, against the floor and beside ever more users."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from bench.load import describe_cpu, measure_rates
from bench.product.servers import TITLES, USERS, Servers

if TYPE_CHECKING:
    from bench.measure import Effort, Report

LEAST: Final = {"sqlite": 1.0, "postgresql": 1.0, "mariadb": 0.9}
GROWTH: Final = 1.3


def bench_users_me(report: Report, servers: Servers, kind: str, effort: Effort) -> None:
    """Measure the product on one database against the floor on the same."""
    has_redis = kind != "sqlite"
    database = servers.make_database(kind)
    with (
        servers.serve_product(database, has_redis=has_redis) as product,
        servers.serve_floor(kind, has_redis=has_redis) as floor,
    ):
        loads = {"ours": servers.load_users_me(database, product), "floor": servers.load_floor(floor)}
        rates = measure_rates(loads, effort)
    report.compare(
        f"users/me, three limits, {TITLES[kind]} and {'Redis' if has_redis else 'memory://'}, requests/s,"
        f" against the floor",
        ours=rates["ours"],
        peer=rates["floor"],
        least=LEAST[kind],
        note=describe_cpu(loads["ours"], loads["floor"]),
    )


def bench_growth(report: Report, servers: Servers, kind: str, effort: Effort, *, sizes: tuple[int, ...]) -> None:
    """Measure the product on databases of more and more users, each of them signed in."""
    databases = {f"{users:,}": servers.make_database(kind, users) for users in (USERS, *sizes)}
    with ExitStack() as stack:
        loads = {}
        for name, database in databases.items():
            product = stack.enter_context(servers.serve_product(database, has_redis=kind != "sqlite"))
            loads[name] = servers.load_users_me(database, product)
        rates = measure_rates(loads, effort)
    smallest, *larger = databases
    for name in larger:
        report.compare(
            f"users/me, {TITLES[kind]}, time at {name} users and sessions, against {smallest}",
            ours=1e6 / rates[name],
            peer=1e6 / rates[smallest],
            most=GROWTH,
            unit=" µs",
            note=describe_cpu(loads[name], loads[smallest]),
        )
