"""Extensions taken off the list and listed again, and the one way that drops their tables, on each database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from app.database import DatabaseUnavailable
from app.database.locks import hold_lock
from app.extensions import db, transaction
from app.models import AuditEntry, Base, User
from app.services.rows import check_reference
from gatehouse.testing.factories import Factory
from tests.cli.conftest import Operator
from tests.servers.lineages import NOTE, execute, find, list_tables, make_extension, store_row, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flask import Flask

pytestmark = [pytest.mark.every_database, pytest.mark.timeout(300)]


def test_off_the_list_the_tables_stay_and_listed_again_they_go_on(
    operate: Callable[..., Operator], tmp_path: Path
) -> None:
    invoices = make_extension(tmp_path)
    assert invoices.migrations
    with_it, without = operate(invoices), operate()
    with_it.run("db", "upgrade")
    store_row(with_it.app)
    assert without.do("setup")["extensions"] == {}
    said = without.run("doctor").stdout
    assert "acme_invoices is not loaded, but has tables: acme_invoices, acme_invoices_line" in said
    assert without.run("db", "check").exit_code == 0, "the product's models know nothing of the tables"
    write(invoices.migrations, "0003", "0002", NOTE)
    assert with_it.do("setup")["extensions"] == {"acme_invoices": "0003"}
    assert execute(with_it.app, "SELECT number, note FROM acme_invoices") == [("A-1", "")]
    assert "migrations of acme_invoices: At 0003" in with_it.run("doctor").stdout
    assert with_it.run("db", "downgrade", "--extension", "acme_invoices", "base").exit_code == 0
    assert "acme_invoices" not in without.run("doctor").stdout, "it has no tables any more"


@pytest.mark.parametrize("listed", ["acme_invoices", ""])
def test_only_its_removal_with_data_drops_its_tables(
    operate: Callable[..., Operator], tmp_path: Path, listed: str
) -> None:
    invoices, stock = make_extension(tmp_path), make_extension(tmp_path, "acme_stock")
    both = operate(invoices, stock)
    both.run("db", "upgrade")
    store_row(both.app)
    before = list_tables(both.app)
    operator = both if listed else operate(stock)
    assert "that is enough" in operator.run("extension", "remove", "acme_invoices").stdout
    assert operator.run("extension", "remove", "acme_invoices", "--with-data", stdin="n\n").exit_code == 1
    assert list_tables(both.app) == before
    report = operator.do("extension", "remove", "acme_invoices", "--with-data", "--yes")
    assert report["dropped"] == ["acme_invoices", "acme_invoices_line"]
    gone = {"acme_invoices", "acme_invoices_line", "alembic_version_acme_invoices"}
    assert before - list_tables(both.app) == gone
    assert find(both.app, stock) == "0002"
    with both.app.app_context():
        entry = db.session.scalars(sa.select(AuditEntry).where(AuditEntry.action == "extension.removed")).one()
        assert (entry.target, entry.details) == ("acme_invoices", {"tables": report["dropped"]})
    assert "No extension acme_none is loaded" in operator.fail("extension", "remove", "acme_none", "--with-data")


def test_the_tables_of_one_off_the_list_are_never_those_of_a_shorter_name(
    operate: Callable[..., Operator], tmp_path: Path
) -> None:
    invoices = make_extension(tmp_path)
    operate(invoices).run("db", "upgrade")
    store_row(operate().app)
    shorter = operate(make_extension(tmp_path, "acme"))
    said = "acme and acme_invoices, which has tables here: one name begins with the other"
    for each in (("setup",), ("db", "upgrade")):
        assert said in shorter.fail(*each)
    assert "First: flask db upgrade" in shorter.fail("db", "migrate", "--extension", "acme")
    assert said in shorter.run("doctor").stdout
    assert not {"acme", "alembic_version_acme"} & list_tables(shorter.app)
    shorter.do("extension", "remove", "acme", "--with-data", "--yes")
    assert execute(shorter.app, "SELECT number FROM acme_invoices") == [("A-1",)]


def test_a_removal_that_ends_half_way_is_in_the_audit_trail(
    operate: Callable[..., Operator], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = operate(make_extension(tmp_path))
    operator.run("db", "upgrade")

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("app.cli.removal.drop_tables", end)
        assert operator.run("extension", "remove", "acme_invoices", "--with-data", "--yes").exit_code != 0
    tables = ["acme_invoices", "acme_invoices_line"]
    assert list_removals(operator.app) == [("extension.removal_started", {"tables": tables})]
    operator.do("extension", "remove", "acme_invoices", "--with-data", "--yes")
    assert list_removals(operator.app)[-1] == ("extension.removed", {"tables": []})


def list_removals(app: Flask) -> list[tuple[str, Any]]:
    with app.app_context():
        kept = sa.select(AuditEntry).where(AuditEntry.action.like("extension.remov%")).order_by(AuditEntry.id)
        return [(entry.action, entry.details) for entry in db.session.scalars(kept)]


@pytest.mark.parametrize(
    "command", [("db", "upgrade"), ("extension", "remove", "acme_invoices", "--with-data", "--yes")]
)
def test_what_changes_tables_waits_for_its_turn(
    operate: Callable[..., Operator], tmp_path: Path, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = operate(make_extension(tmp_path))
    operator.run("db", "upgrade", "--extension", "acme_invoices", "0001")
    operator.run("db", "upgrade")
    operator.run("db", "downgrade", "--extension", "acme_invoices")
    before = list_tables(operator.app)
    monkeypatch.setattr("app.database.locks.WAIT_SECONDS", 0.5)
    with operator.app.app_context(), hold_lock(db.engine, "migrations"):
        assert operator.run(*command).exit_code != 0
        assert list_tables(operator.app) == before
    assert operator.run(*command).exit_code == 0
    assert list_tables(operator.app) != before


def test_what_other_tables_need_is_not_dropped(operate: Callable[..., Operator], tmp_path: Path) -> None:
    operator = operate(make_extension(tmp_path))
    operator.run("db", "upgrade")
    columns = "id INTEGER PRIMARY KEY, invoice INTEGER, FOREIGN KEY (invoice) REFERENCES acme_invoices (id)"
    execute(operator.app, f"CREATE TABLE shelf ({columns})")
    before = list_tables(operator.app)
    said = operator.fail("extension", "remove", "acme_invoices", "--with-data", "--yes")
    assert said == "Other tables need those of acme_invoices: shelf refers to acme_invoices. Remove theirs first."
    assert list_tables(operator.app) == before


@pytest.mark.parametrize("state", ["ahead", "never upgraded"])
def test_tables_go_where_its_migrations_cannot_take_them_down(
    operate: Callable[..., Operator], tmp_path: Path, state: str
) -> None:
    operator = operate(make_extension(tmp_path))
    operate().run("db", "upgrade")
    if state == "ahead":
        operator.run("db", "upgrade")
        execute(operator.app, "UPDATE alembic_version_acme_invoices SET version_num = '9999'")
    report = operator.do("extension", "remove", "acme_invoices", "--with-data", "--yes")
    assert report["dropped"] == (["acme_invoices", "acme_invoices_line"] if state == "ahead" else [])
    assert not {table for table in list_tables(operator.app) if "acme" in table}


def test_a_table_that_is_only_imported_is_nothing_to_the_product_s_migrations(
    operate: Callable[..., Operator],
) -> None:
    operator = operate()
    operator.run("db", "upgrade")
    table = sa.Table("acme_imported", Base.metadata, sa.Column("id", sa.Integer, primary_key=True))
    try:
        assert operator.run("db", "check").exit_code == 0
    finally:
        Base.metadata.remove(table)


@pytest.mark.only_on("postgresql", "mariadb", reason="it has one writer at a time")
def test_what_a_row_is_about_to_refer_to_stays_until_the_transaction_ends(operate: Callable[..., Operator]) -> None:
    operator = operate()
    operator.run("db", "upgrade")
    user = Factory(operator.app).user()
    locked = sa.select(User.id).where(User.id == user.id).with_for_update(nowait=True)
    with operator.app.app_context(), db.engine.connect() as other:
        with transaction():
            check_reference(User, user.id, field="customer_id")
            with pytest.raises((sa.exc.DBAPIError, DatabaseUnavailable)):
                other.execute(locked)
            other.rollback()
        assert other.execute(locked).scalar_one() == user.id
