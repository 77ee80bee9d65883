"""The migrations of extensions on each database: a lineage for each, beside the product's and beside one another's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from app import create_app
from app.cli.migrations import Lineage, find_revisions, make_lineage
from app.config import Settings
from app.extending import Extension
from app.extensions import db
from app.models import AuditEntry
from gatehouse.testing.databases import TEST_ENVIRON
from tests.cli.conftest import Operator
from tests.servers.test_interrupted_migrations import kill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flask import Flask

pytestmark = [pytest.mark.every_database, pytest.mark.timeout(300)]

HEADER = """\
import sqlalchemy as sa
from alembic import op

revision = {revision!r}
down_revision = {below!r}
branch_labels = None
depends_on = None


"""
FIRST = """\
def upgrade():
    op.create_table(
        "{name}",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("number", sa.String(20), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_{name}_user_id_users"),
        sa.PrimaryKeyConstraint("id", name="pk_{name}"),
    )
    op.create_index("ix_{name}_number", "{name}", ["number"])


def downgrade():
    op.drop_table("{name}")
"""
SECOND = """\
def upgrade():
    op.create_table("{name}_line", sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False))


def downgrade():
    op.drop_table("{name}_line")
"""
NOTE = """\
def upgrade():
    op.add_column("{name}", sa.Column("note", sa.String(40), server_default="", nullable=False))


def downgrade():
    with op.batch_alter_table("{name}") as batch:
        batch.drop_column("note")
"""
FAILING = """\
def upgrade():
    op.create_table("{name}_half", sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False))
    op.execute("INSERT INTO {name}_absent VALUES (1)")


def downgrade():
    op.drop_table("{name}_half")
"""


def write(folder: Path, revision: str, below: str | None, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    name = folder.parent.name
    (folder / f"{revision}.py").write_text(HEADER.format(revision=revision, below=below) + text.format(name=name))


def make_extension(folder: Path, name: str = "acme_invoices", **parts: Any) -> Extension:
    """Return an extension with two migrations, written into ``folder``."""
    migrations = folder / name / "migrations"
    if not migrations.exists():
        write(migrations, "0001", None, FIRST)
        write(migrations, "0002", "0001", SECOND)
    return Extension(name=name, version="1.0", face=1, migrations=migrations, **parts)


@pytest.fixture
def url(make_database: Callable[..., str]) -> str:
    return make_database(is_migrated=False)


@pytest.fixture
def operate(url: str) -> Iterator[Callable[..., Operator]]:
    """Return an operator of the product with the extensions given, all on one database."""
    engines = []

    def operate(*extensions: Extension) -> Operator:
        app = create_app(Settings.from_environ(TEST_ENVIRON | {"DATABASE_URL": url}), extensions)
        engines.append(app.extensions["database"].kw["bind"])
        return Operator(app)

    yield operate
    for engine in engines:
        engine.dispose()


def list_tables(app: Flask) -> set[str]:
    with app.app_context():
        return set(sa.inspect(db.engine).get_table_names())


def find(app: Flask, extension: Extension | None = None) -> str | None:
    with app.app_context():
        return find_revisions(None if extension is None else make_lineage(extension)).current


def execute(app: Flask, statement: str, **values: object) -> list[Any]:
    with app.app_context(), db.engine.connect().execution_options(is_write=True) as connection:
        result = connection.execute(sa.text(statement), values)
        rows = list(result.all()) if result.returns_rows else []
        connection.commit()
        return rows


def store_row(app: Flask, table: str = "acme_invoices") -> None:
    execute(app, f"INSERT INTO {table} (id, number) VALUES (1, 'A-1')")  # noqa: S608 - a constant


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


# --- on the list, off it, and gone ---


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
