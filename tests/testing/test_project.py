"""Extensions with tables of their own, tested as their authors would: by what the kit gives, in a run of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.config import ROOT

PROJECT = Path(__file__).with_name("project")
EXAMPLE = ROOT / "examples" / "invoices"


@pytest.mark.server("postgresql")
@pytest.mark.server("mariadb")
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("folder", "counts"), [(PROJECT, "sqlite 13, postgresql 2"), (EXAMPLE, "sqlite 22, postgresql 21")]
)
def test_the_tests_of_an_extension_run_on_every_database_and_pass(folder: Path, counts: str) -> None:
    command = [sys.executable, "-m", "pytest", "-p", "gatehouse.testing", "-q", "-p", "no:cacheprovider"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert f"databases: {counts}" in done.stdout
