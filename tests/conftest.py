"""The product's tests ask for what the tests of extensions ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["gatehouse.testing"]

# Each test of these folders that uses a database runs on every one, unless it is marked.
ON_EVERY_DATABASE = ("routes", "services", "cli")


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Mark the tests of those folders."""
    if metafunc.definition.path.relative_to(Path(__file__).parent).parts[0] in ON_EVERY_DATABASE:
        metafunc.definition.add_marker("every_database")
