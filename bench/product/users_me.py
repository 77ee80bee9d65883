"""Requests a second for ``GET /api/v1/users/me``, against the floor and beside ever more users."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from bench.load import describe_cpu, measure_rates
from bench.product.servers import FLASK_SECURITY, PEERS, TITLES, USERS, Servers
from bench.programs import WORKERS

if TYPE_CHECKING:
    from bench.measure import Effort, Report

LEAST: Final = {"sqlite": 1.0, "postgresql": 1.0, "mariadb": 0.9}
GROWTH: Final = 1.3
LEAST_OF_PEERS: Final = 3.0
MEMORY: Final = 1.2


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


def bench_peers(report: Report, servers: Servers, effort: Effort) -> None:
    """Measure the product and all who do the same work, on PostgreSQL and Redis; then weigh them."""
    database = servers.make_database("postgresql")
    with ExitStack() as stack:
        ours = stack.enter_context(servers.serve_product(database, has_redis=True))
        loads = {"ours": servers.load_users_me(database, ours)}
        for name in PEERS:
            servers.make_peer_cookies(name)
            loads[name] = servers.load_peer(name, stack.enter_context(servers.serve_peer(name)))
        rates = measure_rates(loads, effort)
        memory = {name: load.program.measure_memory_mib() / WORKERS for name, load in loads.items()}
    for name in PEERS:
        report.compare(
            f"users/me, three limits, PostgreSQL and Redis, requests/s, against {name}",
            ours=rates["ours"],
            peer=rates[name],
            least=LEAST_OF_PEERS,
            note=describe_cpu(loads["ours"], loads[name]),
        )
    report.compare(
        f"memory of the server a worker, after the load, against {FLASK_SECURITY}",
        ours=memory["ours"],
        peer=memory[FLASK_SECURITY],
        most=MEMORY,
        unit=" MiB",
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
