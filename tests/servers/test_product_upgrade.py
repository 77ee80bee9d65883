"""The product is upgraded under an installed extension with rows, which is taken off the list and listed again."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from app.config import ROOT
from app.database import make_engine, parse_database_url
from gatehouse.testing.databases import TEST_ENVIRON
from tests.servers.lineages import FIRST, NOTE, SECOND, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.every_database, pytest.mark.timeout(300)]

PACKAGE = """\
from pathlib import Path

from gatehouse import Extension

extension = Extension(name="acme_invoices", version="1", face=1, migrations=Path(__file__).parent / "migrations")
"""
NEXT = """\
def upgrade():
    op.add_column("users", sa.Column("nickname", sa.String(40), server_default="", nullable=False))


def downgrade():
    with op.batch_alter_table("users") as batch:
        batch.drop_column("nickname")
"""
ROW = "INSERT INTO acme_invoices (id, number, user_id) SELECT 1, 'A-1', id FROM users"
READ = "SELECT acme_invoices.number, users.email FROM acme_invoices JOIN users ON users.id = acme_invoices.user_id"


class Installation:
    """A copy of the product with an extension beside it, on one database."""

    def __init__(self, folder: Path, url: str) -> None:
        self.product = folder / "product"
        shutil.copytree(ROOT / "app", self.product / "app", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(ROOT / "gatehouse", self.product / "gatehouse", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "run.py", self.product)
        self.versions = self.product / "app" / "migrations" / "versions"
        self.head = max(path.stem.partition("_")[0] for path in self.versions.glob("[0-9]*.py"))
        self.migrations = folder / "acme_invoices" / "migrations"
        write(self.migrations, "0001", None, FIRST)
        write(self.migrations, "0002", "0001", SECOND)
        (folder / "acme_invoices" / "__init__.py").write_text(PACKAGE)
        self._engine = make_engine(parse_database_url(url))
        self._environ = TEST_ENVIRON | {"PATH": os.environ["PATH"], "PYTHONPATH": str(folder), "DATABASE_URL": url}

    def call(self, *args: str, extensions: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "flask", "--app", "run", *args]
        environ = self._environ | {"APP_EXTENSIONS": extensions}
        return subprocess.run(
            command, cwd=self.product, env=environ, capture_output=True, text=True, timeout=120, check=False
        )

    def run(self, *args: str, extensions: str) -> Any:
        done = self.call(*args, "--json", extensions=extensions)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        with self._engine.connect().execution_options(is_write=True) as connection:
            result = connection.execute(sa.text(statement))
            rows = [tuple(row) for row in result] if result.returns_rows else []
            connection.commit()
        self._engine.dispose()
        return rows


def test_nothing_is_lost_when_both_go_on_and_when_the_extension_is_off_the_list_meanwhile(
    tmp_path: Path, make_database: Callable[..., str]
) -> None:
    installed = Installation(tmp_path, make_database(is_migrated=False))
    report = installed.run("setup", extensions="acme_invoices")
    assert (report["revision"], report["extensions"]) == (installed.head, {"acme_invoices": "0002"})
    installed.execute(ROW)
    kept = [("A-1", "root@example.com")]
    assert installed.execute(READ) == kept

    # Both have one more migration.
    write(installed.versions, "9001", installed.head, NEXT)
    write(installed.migrations, "0003", "0002", NOTE)
    report = installed.run("setup", extensions="acme_invoices")
    assert (report["revision"], report["extensions"]) == ("9001", {"acme_invoices": "0003"})
    assert installed.execute(READ) == kept
    assert installed.execute("SELECT nickname FROM users") == [("",)]

    # Off the list, the product goes on by itself.
    write(installed.versions, "9002", "9001", NEXT.replace("nickname", "title"))
    report = installed.run("setup", extensions="")
    assert (report["revision"], report["extensions"]) == ("9002", {})
    assert installed.execute(READ) == kept
    assert installed.run("doctor", extensions="")["healthy"]

    # Listed again, the extension goes on too.
    write(installed.migrations, "0004", "0003", NOTE.replace("note", "memo"))
    report = installed.run("setup", extensions="acme_invoices")
    assert (report["revision"], report["extensions"]) == ("9002", {"acme_invoices": "0004"})
    assert installed.execute(READ) == kept
    assert installed.execute("SELECT note, memo FROM acme_invoices") == [("", "")]
    assert installed.run("doctor", extensions="acme_invoices")["healthy"]


def test_a_migration_of_ones_own_beside_the_products_next_is_told_with_the_command_that_joins_them(
    tmp_path: Path, make_database: Callable[..., str]
) -> None:
    installed = Installation(tmp_path, make_database(is_migrated=False))
    installed.run("setup", extensions="")
    write(installed.versions, "mine", installed.head, NEXT)
    installed.run("setup", extensions="")
    # An upgrade of the product brings one that follows the same.
    write(installed.versions, "9001", installed.head, NEXT.replace("nickname", "title"))
    join = 'flask --app run db merge -m "Join migrations" heads'
    for command in (("setup",), ("db", "upgrade"), ("doctor",)):
        failed = installed.call(*command)
        assert failed.returncode == 1
        assert join in failed.stdout + failed.stderr
        assert "Traceback" not in failed.stderr
    assert installed.call(*shlex.split(join)[3:]).returncode == 0
    installed.run("setup", extensions="")
    assert installed.execute("SELECT nickname, title FROM users") == [("", "")]
    assert installed.run("doctor", extensions="")["healthy"]
