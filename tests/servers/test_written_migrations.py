"""What ``db migrate`` writes for an extension on each database, and what it refuses to write."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from app.config import ROOT
from gatehouse.testing.databases import TEST_ENVIRON

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.every_database, pytest.mark.timeout(300)]

PACKAGE = """\
from pathlib import Path

from gatehouse import Extension

from .models import MODELS

extension = Extension(
    name="acme_invoices", version="1.0", face=1, models=MODELS, migrations=Path(__file__).parent / "migrations",
    on_user_deletion={MODELS[0]: "keep"},
)
"""
MODELS = """\
import datetime
import uuid

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column
from gatehouse import Base, ExactString, User, UtcDateTime


class Invoice(Base):
    __tablename__ = "acme_invoices"
    __table_args__ = ({"info": {"title": "Invoices"}},)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    number: Mapped[str] = mapped_column(ExactString(20), unique=True)
    total: Mapped[int] = mapped_column(sa.Numeric(12, 2))
    issued_at: Mapped[datetime.datetime] = mapped_column(index=True)
    user_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("users.id", ondelete="SET NULL"), index=True)
"""
END = """

MODELS = (Invoice,)
"""
NOTE = '    note: Mapped[str] = mapped_column(ExactString(40), server_default="")\n'


class Project:
    """An extension in a folder of its own, whose models change."""

    def __init__(self, folder: Path, url: str) -> None:
        self.migrations = folder / "acme_invoices" / "migrations"
        self._models = folder / "acme_invoices" / "models.py"
        self.migrations.mkdir(parents=True)
        (self._models.parent / "__init__.py").write_text(PACKAGE)
        self._environ = TEST_ENVIRON | {
            "PATH": os.environ["PATH"], "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "DATABASE_URL": url,
            "LOG_LEVEL": "INFO", "APP_EXTENSIONS": "acme_invoices",
        }  # fmt: skip

    def describe(self, *columns: str, others: str = "", end: str = END) -> None:
        self._models.write_text(MODELS + "".join(columns) + others + end)

    def run(self, *args: str, without: bool = False) -> subprocess.CompletedProcess[str]:
        environ = self._environ | ({"APP_EXTENSIONS": ""} if without else {})
        command = [sys.executable, "-m", "flask", "--app", "run", *args]
        return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120, check=False)

    def do(self, *args: str) -> str:
        done = self.run(*args)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def fail(self, *args: str) -> str:
        done = self.run(*args)
        assert done.returncode == 1, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr

    def fill(self, source: str) -> None:
        """Run Python in the shell of the application."""
        imports = "import uuid, datetime; from gatehouse import transaction; from acme_invoices.models import Invoice\n"
        command = [sys.executable, "-m", "flask", "--app", "run", "shell"]
        done = subprocess.run(
            command, cwd=ROOT, env=self._environ, input=f"{imports}{source}\n", capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr

    def migrate(self, message: str) -> list[str]:
        """Return the texts of the files that are written, in their order."""
        before = set(self.migrations.glob("*.py"))
        self.do("db", "migrate", "--extension", "acme_invoices", "-m", message)
        files = sorted(set(self.migrations.glob("*.py")) - before, key=lambda path: path.stat().st_mtime_ns)
        return [path.read_text() for path in files]


@pytest.fixture
def project(tmp_path: Path, make_database: Callable[..., str]) -> Project:
    project = Project(tmp_path, make_database(is_migrated=False))
    project.describe()
    return project


def test_what_is_written_is_the_owner_s_alone_and_outlives_our_classes(project: Project) -> None:
    assert "First: " in project.fail("db", "migrate", "-m", "x"), "the product is not at its head"
    project.do("db", "upgrade")
    (first,) = project.migrate("invoices")
    assert re.findall(r"create_table\('(\w+)'", first) == ["acme_invoices"]
    assert first.count("op.create_index(") == 2
    assert not {"app.", "gatehouse", "types.", "info="} & set(re.findall(r"app\.|gatehouse|\btypes\.|info=", first))
    assert "sa.Numeric(precision=12, scale=2)" in first
    assert "mysql.DATETIME(fsp=6)" in first
    assert "First: " in project.fail("db", "migrate", "--extension", "acme_invoices", "-m", "x")
    project.do("db", "upgrade")
    assert "No new upgrade operations" in project.do("db", "check")
    assert project.migrate("nothing") == []
    assert project.run("db", "check", without=True).returncode == 0, (
        "an extension that is not listed is nobody's change"
    )
    project.do("db", "downgrade", "--extension", "acme_invoices", "base")
    project.do("db", "upgrade")
    project.do("db", "check")


def test_each_change_has_a_file_of_its_own_that_follows_the_last(project: Project) -> None:
    project.do("db", "upgrade")
    project.migrate("invoices")
    project.do("db", "upgrade")
    line = (
        "\n\nclass Line(Base):\n    __tablename__ = 'acme_invoices_line'\n\n"
        "    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)\n"
    )
    project.describe(NOTE, NOTE.replace("note", "memo"), others=line, end="\n\nMODELS = (Invoice, Line)\n")
    assert "New upgrade operations" in project.fail("db", "check")
    written = project.migrate("lines and notes")
    assert len(written) == 3
    ids = [re.search(r"^revision = '(\w+)'", text, re.MULTILINE) for text in written]
    belows = [re.search(r"^down_revision = '(\w+)'", text, re.MULTILINE) for text in written]
    assert all(ids)
    assert all(belows)
    assert len({each[1] for each in belows if each} - {each[1] for each in ids if each}) == 1, "one chain"
    project.do("db", "upgrade")
    project.do("db", "check")
    # A model that is gone is in no metadata: its table's prefix says whose it was.
    project.describe(NOTE, NOTE.replace("note", "memo"))
    (dropping,) = project.migrate("no lines")
    assert "op.drop_table('acme_invoices_line')" in dropping
    project.do("db", "upgrade")
    project.do("db", "check")


def test_what_could_not_be_applied_is_refused(project: Project) -> None:
    project.do("db", "upgrade")
    project.migrate("invoices")
    project.do("db", "upgrade")
    before = list(project.migrations.glob("*.py"))
    project.fill(
        "with transaction() as session:\n"
        "    session.execute(Invoice.__table__.insert().values(id=uuid.uuid4(), number='1', total=1,"
        " issued_at=datetime.datetime.now(datetime.UTC)))\n"
    )
    project.describe(NOTE.replace(', server_default=""', ""))
    for command in (["db", "migrate", "--extension", "acme_invoices", "-m", "x"], ["db", "check"]):
        assert "acme_invoices.note may not be NULL and has no server default" in project.fail(*command)
    project.describe(NOTE.replace("Mapped[str]", "Mapped[str | None]").replace(', server_default=""', ""))
    project.migrate("a note")
    project.do("db", "upgrade")
    before = list(project.migrations.glob("*.py"))
    assert "Nothing of acme_invoices has changed" in project.do("db", "migrate", "--extension", "acme_invoices")
    project.describe(NOTE.replace(', server_default=""', ""))
    for command in (["db", "migrate", "--extension", "acme_invoices", "-m", "x"], ["db", "check"]):
        assert "acme_invoices.note is to refuse NULL, but rows have it: fill them first." in project.fail(*command)
    project.describe(f"    {'n' * 60}: Mapped[str | None] = mapped_column(ExactString(40), unique=True)\n")
    assert "longer than the 63 bytes" in project.fail("db", "migrate", "--extension", "acme_invoices", "-m", "x")
    assert list(project.migrations.glob("*.py")) == before
