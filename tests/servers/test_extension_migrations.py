"""The migrations of extensions on each database: a lineage for each, beside the product's and beside one another's."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from app.cli.migrations import Lineage, find_revisions, make_lineage
from tests.cli.conftest import Operator
from tests.servers.lineages import FAILING, NOTE, SECOND, execute, find, list_tables, make_extension, store_row, write
from tests.servers.test_interrupted_migrations import kill

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


pytestmark = [pytest.mark.every_database, pytest.mark.timeout(300)]


def test_an_upgrade_makes_the_tables_of_the_product_then_those_of_each_extension(
    operate: Callable[..., Operator], tmp_path: Path
) -> None:
    invoices, stock = make_extension(tmp_path), make_extension(tmp_path, "acme_stock")
    operator = operate(invoices, stock)
    assert operator.run("db", "upgrade").exit_code == 0
    assert {"users", "acme_invoices", "acme_invoices_line", "acme_stock", "acme_stock_line"} <= list_tables(
        operator.app
    )
    with operator.app.app_context():
        assert [
            find_revisions(each).is_current for each in (Lineage(), make_lineage(invoices), make_lineage(stock))
        ] == [True] * 3
    said = operator.run("db", "heads").stdout
    assert said.splitlines()[::2] == ["Gatehouse:", "acme_invoices:", "acme_stock:"]
    assert operator.run("db", "heads", "--extension", "acme_stock").stdout == "0002 (head)\n"
    assert operator.do("setup")["extensions"] == {"acme_invoices": "0002", "acme_stock": "0002"}


def test_one_extension_goes_down_and_up_by_itself(operate: Callable[..., Operator], tmp_path: Path) -> None:
    invoices, stock = make_extension(tmp_path), make_extension(tmp_path, "acme_stock")
    operator = operate(invoices, stock)
    operator.run("db", "upgrade")
    before = list_tables(operator.app)
    assert operator.run("db", "downgrade", "--extension", "acme_invoices").exit_code == 0
    assert before - list_tables(operator.app) == {"acme_invoices_line"}
    assert operator.run("db", "downgrade", "--extension", "acme_invoices", "base").exit_code == 0
    assert before - list_tables(operator.app) == {"acme_invoices", "acme_invoices_line"}
    assert operator.run("db", "upgrade", "--extension", "acme_invoices").exit_code == 0
    assert list_tables(operator.app) == before


def test_what_the_product_lacks_is_said_before_anything_runs(operate: Callable[..., Operator], tmp_path: Path) -> None:
    operator = operate(make_extension(tmp_path, needs_product="9999"))
    said = "acme_invoices needs Gatehouse's migration 9999"
    assert said in operator.fail("setup")
    assert list_tables(operator.app) == set()
    operate().do("setup")
    assert said in operator.run("doctor").stdout


def test_an_upgrade_to_an_earlier_migration_is_refused_for_the_same_reasons(
    operate: Callable[..., Operator], tmp_path: Path
) -> None:
    upgrade = "db", "upgrade", "--extension", "acme_invoices"
    invoices = make_extension(tmp_path)
    operate().run("db", "upgrade")
    lacking, operator = operate(dataclasses.replace(invoices, needs_product="9999")), operate(invoices)
    assert "acme_invoices needs Gatehouse's migration 9999" in lacking.fail(*upgrade, "0001")
    assert find(operator.app, invoices) is None
    assert "Can't locate revision identified by '9999'" in operator.fail(*upgrade, "9999")
    assert operator.run(*upgrade, "0001").exit_code == 0
    assert find(operator.app, invoices) == "0001"
    assert operator.run(*upgrade, "+1").exit_code == 0
    assert find(operator.app, invoices) == "0002"
    execute(operator.app, "DROP TABLE alembic_version_acme_invoices")
    assert "db stamp --extension acme_invoices REVISION" in operator.fail(*upgrade, "0001")


def test_tables_that_nobody_knows_the_migration_of_are_left_alone(
    operate: Callable[..., Operator], tmp_path: Path
) -> None:
    invoices = make_extension(tmp_path)
    operator = operate(invoices)
    operator.run("db", "upgrade")
    execute(operator.app, "DROP TABLE alembic_version_acme_invoices")
    for command in (["setup"], ["db", "upgrade"], ["db", "migrate", "--extension", "acme_invoices", "-m", "x"]):
        assert "db stamp --extension acme_invoices REVISION" in operator.fail(*command)
    assert operator.run("db", "stamp", "--extension", "acme_invoices", "0002").exit_code == 0
    assert operator.run("setup").exit_code == 0
    execute(operator.app, "DROP TABLE alembic_version")
    assert "db stamp REVISION" in operator.fail("db", "upgrade")


def test_a_database_of_a_newer_extension_is_left_alone(operate: Callable[..., Operator], tmp_path: Path) -> None:
    invoices = make_extension(tmp_path)
    operator = operate(invoices)
    operator.run("db", "upgrade")
    assert invoices.migrations
    (invoices.migrations / "0002.py").unlink()
    assert "A newer version of acme_invoices has changed the database" in operator.fail("db", "upgrade")


def test_a_migration_that_goes_wrong_is_one_message_and_the_others_tables_stay_as_they_are(
    operate: Callable[..., Operator], tmp_path: Path
) -> None:
    invoices, stock = make_extension(tmp_path), make_extension(tmp_path, "acme_stock")
    assert invoices.migrations
    operator = operate(invoices, stock)
    operator.run("db", "upgrade")
    before, product = list_tables(operator.app), find(operator.app)
    write(invoices.migrations, "0003", "0002", FAILING)
    for command in ("setup", "db upgrade"):
        line = operator.fail(*command.split())
        assert "0003, a migration of acme_invoices, failed" in line
        assert "are at 0002" in line
    is_kept = "mysql" in str(operator.app.extensions["database"].kw["bind"].url)
    left = list_tables(operator.app) - before
    assert left == (
        {"acme_invoices_half", "alembic_progress_acme_invoices"} if is_kept else left - {"acme_invoices_half"}
    )
    assert find(operator.app) == product
    assert find(operator.app, stock) == "0002"
    # Mended, it goes on.
    write(
        invoices.migrations,
        "0003",
        "0002",
        FAILING.replace("INSERT INTO {name}_absent VALUES", "INSERT INTO {name}_half VALUES"),
    )
    assert operator.run("setup").exit_code == 0
    assert find(operator.app, invoices) == "0003"
    assert execute(operator.app, "SELECT id FROM acme_invoices_half") == [(1,)]


@pytest.mark.only_on("mariadb", reason="the others take back all of a migration that ended half-way")
def test_a_killed_migration_of_an_extension_goes_on(operate: Callable[..., Operator], tmp_path: Path) -> None:
    operator = operate(make_extension(tmp_path))
    product = operate()
    product.run("db", "upgrade")
    number, was_killed = 0, True
    from app.cli.migrations import upgrade_database  # noqa: PLC0415 - beside its only use

    while was_killed:
        with operator.app.app_context():
            was_killed = kill(upgrade_database, before=number)
        assert operator.run("setup").exit_code == 0
        assert {"acme_invoices", "acme_invoices_line"} <= list_tables(operator.app)
        assert operator.run("db", "downgrade", "--extension", "acme_invoices", "base").exit_code == 0
        number += 1
    assert number > 4


def test_two_heads_are_one_message_with_the_command_that_joins_them(
    operate: Callable[..., Operator], tmp_path: Path
) -> None:
    invoices = make_extension(tmp_path)
    assert invoices.migrations
    operator = operate(invoices)
    operator.run("db", "upgrade")
    write(invoices.migrations, "aaaa", "0001", NOTE)
    join = 'flask db merge --extension acme_invoices -m "Join migrations" heads'
    assert join in operator.fail("setup")
    assert join in operator.fail("db", "upgrade")
    assert join in operator.run("doctor").stdout
    merged = operator.run("db", "merge", "--extension", "acme_invoices", "-m", "Join migrations", "heads")
    assert merged.exit_code == 0
    assert operator.run("setup").exit_code == 0
    assert execute(operator.app, "SELECT note FROM acme_invoices") == []


@pytest.mark.parametrize(
    ("revision", "below", "text"),
    [("0002", "0001", NOTE), ("0003", "0009", NOTE), ("0003", "0002", "import absent_package\n")],
    ids=["of a number that is taken", "that follows none", "that cannot be imported"],
)
def test_a_migration_that_cannot_be_read_is_one_message(
    operate: Callable[..., Operator], tmp_path: Path, revision: str, below: str, text: str
) -> None:
    invoices = make_extension(tmp_path)
    operator = operate(invoices)
    operator.run("db", "upgrade")
    assert invoices.migrations
    write(invoices.migrations, revision, below, text)
    if revision == "0002":
        write(invoices.migrations, "0002", "0001", SECOND)
        (invoices.migrations / "0002.py").rename(invoices.migrations / "second.py")
        write(invoices.migrations, "0002", "0001", NOTE)
    for command in (["setup"], ["db", "upgrade"]):
        assert "The migrations of acme_invoices cannot be read" in operator.fail(*command)
    assert "cannot be read" in operator.run("doctor").stdout


def test_the_product_does_not_go_down_under_an_extension_s_tables(
    operate: Callable[..., Operator], tmp_path: Path
) -> None:
    operator = operate(make_extension(tmp_path))
    operator.run("db", "upgrade")
    store_row(operator.app)
    before = list_tables(operator.app)
    for each in (operator, operate()):
        assert "acme_invoices refers to users" in each.fail("db", "downgrade", "base")
        assert list_tables(each.app) == before
    assert operate().run("db", "downgrade", "0002").exit_code == 0
    assert operator.run("db", "upgrade").exit_code == 0
    assert execute(operator.app, "SELECT number FROM acme_invoices") == [("A-1",)]
