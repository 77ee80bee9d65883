"""Brings the fixtures of ``gatehouse.testing`` to projects that name their extensions in pytest's ini.

pytest imports this file in every project of an environment, and before coverage starts: so it imports nothing of ours,
and a project that names none has no fixture of ours.
"""

import pytest

EXTENSIONS = "gatehouse_extensions"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the extensions be named: ``gatehouse_extensions = acme_invoices``."""
    parser.addini(EXTENSIONS, "the extensions that the tests' applications have, by their packages' names", type="args")


def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Load the fixtures, after coverage has started."""
    if early_config.getini(EXTENSIONS):
        early_config.pluginmanager.import_plugin("gatehouse.testing")
