"""What the tests' run itself learns: databases by marker, servers to leave out, and how many tests ran on what."""

from __future__ import annotations

import gc
from collections import Counter
from typing import Any, Final

import pytest

SERVERS: Final = ("postgresql", "mariadb", "redis", "chromium", "postfix")
DATABASES: Final = ("sqlite", "postgresql", "mariadb")
MARKERS: Final = (
    "server(name): needs a real server of that name",
    "every_database: runs on every database",
    "only_on(*kinds, reason): runs on these databases only, for that reason",
    "on_sqlite: runs on SQLite",
    "no_database: uses the application and not its database, and so runs once",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a server be left out: ``--without mariadb``."""
    parser.addoption("--without", action="append", default=[], choices=SERVERS, help="leave out the tests that need it")


def pytest_configure(config: pytest.Config) -> None:
    """Make the markers known."""
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test on every database, or on those that it is marked for."""
    test = metafunc.definition
    if "database_kind" not in metafunc.fixturenames or test.get_closest_marker("no_database"):
        return
    only = test.get_closest_marker("only_on")
    if test.get_closest_marker("every_database") or "assert_extension" in metafunc.fixturenames:
        kinds = only.args if only else DATABASES
        metafunc.parametrize("database_kind", [make_param(kind) for kind in kinds], indirect=True)


def make_param(kind: str) -> Any:
    """Return the parameter of a test on that kind of database."""
    return pytest.param(kind, marks=[pytest.mark.server(kind)] if kind in SERVERS else [pytest.mark.on_sqlite])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests marked ``server(name)`` of a server that was left out; note the database of all others."""
    for item in items:
        if "limiter_store" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.server("redis"))
    absent = set(config.getoption("--without"))
    kept = [item for item in items if not absent & {mark.args[0] for mark in item.iter_markers("server")}]
    left_out = [item for item in items if item not in kept]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept
    for item in items:
        item.user_properties += [("database", kind) for kind in find_databases(item)]


def pytest_collection_finish() -> None:
    """Spare the garbage collector what stays until the end; each test makes enough to have it look at all of that."""
    gc.collect()
    gc.freeze()


def find_databases(item: pytest.Item) -> set[str]:
    """Return the kinds of database that a test runs on."""
    servers = {mark.args[0] for mark in item.iter_markers("server")} & set(DATABASES)
    is_plain = "database_kind" in getattr(item, "fixturenames", ()) and not item.get_closest_marker("no_database")
    return servers or ({"sqlite"} if is_plain or item.get_closest_marker("on_sqlite") else set())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests ran on each database."""
    stats = terminalreporter.stats
    ran = [report for outcome in ("passed", "failed", "xfailed", "xpassed") for report in stats.get(outcome, ())]
    counts = Counter(value for report in ran for name, value in report.user_properties if name == "database")
    if counts:
        terminalreporter.write_line("databases: " + ", ".join(f"{kind} {counts[kind]}" for kind in DATABASES))
