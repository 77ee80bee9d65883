"""An operator at the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from click.testing import Result
    from flask import Flask


class Operator:
    """Runs commands in the application's own process."""

    def __init__(self, app: Flask) -> None:
        self.app = app

    def run(self, *args: str, stdin: str | bytes | None = None) -> Result:
        """Run a command, whatever becomes of it; a traceback fails the test."""
        result: Result = self.app.test_cli_runner().invoke(args=[str(arg) for arg in args], input=stdin)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert "Traceback" not in result.output
        return result

    def do(self, *args: str, stdin: str | bytes | None = None) -> Any:
        """Run a command that succeeds and return its JSON."""
        result = self.run(*args, "--json", stdin=stdin)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def fail(self, *args: str, stdin: str | bytes | None = None) -> str:
        """Run a command that fails with one line on standard error and nothing elsewhere; return the line."""
        result = self.run(*args, stdin=stdin)
        assert result.exit_code == 1, result.output
        assert result.stdout == ""
        lines = result.stderr.splitlines()
        assert len([line for line in lines if line.startswith("Error: ")]) == 1, lines
        return lines[-1].removeprefix("Error: ")


@pytest.fixture
def operator(app: Flask) -> Operator:
    """The operator of the test's application."""
    return Operator(app)
