"""``flask db upgrade``, killed while the server still works for it: the next one waits for that, and goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from app.database import make_engine, parse_database_url
from gatehouse.testing.databases import TEST_ENVIRON
from gatehouse.testing.servers.product import Product
from gatehouse.testing.servers.waiting import wait_until

from .lineages import write

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
NAME = "acme_slow"
PACKAGE = """\
from pathlib import Path

from gatehouse import Extension

extension = Extension(name="acme_slow", version="1.0", face=1, migrations=Path(__file__).with_name("migrations"))
"""
SLOW = """\
def upgrade():
    op.create_table("{{name}}", sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False))
    op.execute("SELECT {sleep}(3)")
    op.add_column("{{name}}", sa.Column("note", sa.String(40)))


def downgrade():
    op.drop_table("{{name}}")
"""
WORKING = {
    "pg_sleep": "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = 'SELECT pg_sleep(3)'",
    "SLEEP": "SELECT count(*) FROM information_schema.processlist WHERE info = 'SELECT SLEEP(3)'",
}


@pytest.mark.every_database
@pytest.mark.only_on("postgresql", "mariadb", reason="SQLite is no server that goes on without its client")
@pytest.mark.timeout(200)
def test_an_upgrade_that_is_killed_in_the_middle_of_a_migration_is_done_by_the_next(
    make_database: Callable[..., str], tmp_path: Path
) -> None:
    url = make_database()
    sleep = "pg_sleep" if url.startswith("postgresql") else "SLEEP"
    write(tmp_path / NAME / "migrations", "0001", None, SLOW.format(sleep=sleep))
    (tmp_path / NAME / "__init__.py").write_text(PACKAGE)
    environ = TEST_ENVIRON | {"APP_EXTENSIONS": NAME, "DATABASE_URL": url, "PYTHONPATH": str(tmp_path)}
    environ = Product(environ, folder=tmp_path).environ
    command = [sys.executable, "-m", "flask", "--app", "run", "db", "upgrade"]
    engine = make_engine(parse_database_url(url))

    def is_working() -> bool:
        with engine.connect() as connection:
            return bool(connection.scalar(sa.text(WORKING[sleep])))

    with subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL) as process:
        wait_until(is_working, within_seconds=60, what="the middle of the migration")
        process.kill()
    assert is_working()
    done = subprocess.run(command, cwd=ROOT, env=environ, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    inspector = sa.inspect(engine)
    assert [column["name"] for column in inspector.get_columns(NAME)] == ["id", "note"]
    with engine.connect() as connection:
        assert connection.scalar(sa.text(f"SELECT version_num FROM alembic_version_{NAME}")) == "0001"  # noqa: S608 - a constant
    assert not inspector.has_table(f"alembic_progress_{NAME}")
    engine.dispose()
