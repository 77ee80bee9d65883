"""Build the wheel, in which ``app/`` is ``gatehouse/_app`` and ``run.py`` is ``gatehouse/__main__.py``.

Nobody's environment gets a top-level ``app`` from us, for many have an ``app.py`` of their own. ADR 26 says why the
imports are rewritten here.
"""

import ast
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

INSTALLED: Final = "gatehouse._app"
# pytest imports it in every project of an environment, and to import anything of gatehouse is to import all of it.
PLUGIN: Final = "pytest_gatehouse.py"
_IMPORT: Final = re.compile(r"^(\s*(?:from|import)) app(?=[\s.])", re.MULTILINE)
_REWRITTEN: Final = {".py", ".mako"}


class CustomBuildHook(BuildHookInterface[Any]):
    """Hatchling's name for it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Give the wheel its files.

        Raises:
            ValueError: it is to be editable.
        """
        if version == "editable":
            raise ValueError(
                "Gatehouse cannot be installed as editable: everybody in that environment would import our folder app/."
                " Work in the clone, or install it without --editable."
            )
        self._folder = tempfile.TemporaryDirectory()
        package = Path(self._folder.name, "gatehouse")
        copy_package(Path(self.root), package)
        build_data["force_include"] |= {str(package): "gatehouse", str(Path(self.root, PLUGIN)): PLUGIN}

    def finalize(self, _version: str, _build_data: dict[str, Any], _artifact_path: str) -> None:
        """Remove what the wheel was made from."""
        self._folder.cleanup()


def copy_package(root: Path, package: Path) -> None:
    """Copy what is installed of the project at ``root`` to ``package``, with its imports rewritten.

    Raises:
        ValueError: a file names one of our modules in a way that cannot be rewritten.
    """
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(root / "gatehouse", package, ignore=ignore)
    shutil.copytree(root / "app", package / "_app", ignore=ignore)
    shutil.copy(root / "run.py", package / "__main__.py")
    modules = {path.stem for path in (root / "app").iterdir()}
    for path in package.rglob("*"):
        if path.suffix in _REWRITTEN:
            source = _IMPORT.sub(rf"\1 {INSTALLED}", path.read_text())
            path.write_text(source)
            if path.suffix == ".py":
                _check(path, source, modules)


def _check(path: Path, source: str, modules: set[str]) -> None:
    """Refuse what still means the folder ``app``, or would bind another name than it did."""
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [each.name for each in node.names if each.asname is None]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [(node.module or "").replace(INSTALLED, "")]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # A string that is a module's dotted path; use __name__ or Path(__file__).
            names = [node.value] if node.value.startswith("app.") and node.value.split(".")[1] in modules else []
        if any(name.partition(".")[0] == "app" or name.startswith(INSTALLED) for name in names):
            raise ValueError(f"{path.name}:{getattr(node, 'lineno', 0)} names {names} in a way that no wheel can hold")
