"""An extension with tables of its own, tested by its author with what the kit gives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.config import ROOT

PROJECT = Path(__file__).with_name("project")


@pytest.mark.server("postgresql")
@pytest.mark.server("mariadb")
@pytest.mark.timeout(300)
def test_the_tests_of_an_extension_run_on_every_database_and_pass() -> None:
    command = [sys.executable, "-m", "pytest", "-p", "gatehouse.testing", "-q", "-p", "no:cacheprovider"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=PROJECT, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "databases: sqlite 4, postgresql 2, mariadb 2" in done.stdout
