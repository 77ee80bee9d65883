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
OURS: Final = "ours"
FLOOR: Final = "the floor"
USERS_ME: Final = "users/me, three limits"


def bench_users_me(report: Report, servers: Servers, kind: str, effort: Effort) -> None:
    """Measure the product on one database against the floor; on PostgreSQL also against who does the same work."""
    has_redis = kind != "sqlite"
    database = servers.make_database(kind)
    peers = PEERS if kind == "postgresql" else {}
    with ExitStack() as stack:
        product = stack.enter_context(servers.serve_product(database, has_redis=has_redis))
        floor = stack.enter_context(servers.serve_floor(kind, has_redis=has_redis))
        loads = {OURS: servers.load_users_me(database, product), FLOOR: servers.load_floor(floor)}
        for name in peers:
            servers.make_peer_cookies(name)
            loads[name] = servers.load_peer(name, stack.enter_context(servers.serve_peer(name)))
        rates = measure_rates(loads, effort)
        memory = {name: load.program.measure_memory_mib() / WORKERS for name, load in loads.items()}
    for name in (FLOOR, *peers):
        report.compare(
            f"{USERS_ME}, {TITLES[kind]} and {'Redis' if has_redis else 'memory://'}, requests/s, against {name}",
            ours=rates[OURS],
            peer=rates[name],
            least=LEAST[kind] if name == FLOOR else LEAST_OF_PEERS,
            note=describe_cpu(loads[OURS], loads[name]),
        )
    if FLASK_SECURITY in memory:
        report.compare(
            f"memory of the server a worker, after the load, against {FLASK_SECURITY}",
            ours=memory[OURS],
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
