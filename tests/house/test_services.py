"""Rules about the services: what others call is run again when its connection is lost, and no cause is guessed."""

from __future__ import annotations

import ast
import importlib
import inspect
from typing import TYPE_CHECKING, Final

import gatehouse
from app.config import ROOT
from app.extensions import RETRIED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SERVICES: Final = ROOT / "app" / "services"
OUTSIDE: Final = [path for path in (ROOT / "app").rglob("*.py") if SERVICES not in path.parents]

# What need not be run again, and why.
NOT_RETRIED: Final = {
    "app.services.users.walk_users": "hands out pages, each of them read by a function that is",
    "app.services.imports.import_users": "tells its progress as it goes; its operator runs it again",
    "app.services.deliveries.send": "sends between transactions, each of which is run again by itself",
    "app.services.leaving.delete_due": "deletes one account after the other, each in a function that is",
    "app.services.ratelimits.show": "asks the limiter's store, and no database",
    "app.services.roles.set_role": "calls two functions that are",
}


def list_used(path: Path) -> Iterator[tuple[str, str]]:
    """Return (module, name) of everything that the file uses of the services."""
    tree = ast.parse(path.read_text())
    modules: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if source == "app.services" or (node.level and source == "services"):
                modules |= {alias.asname or alias.name: f"app.services.{alias.name}" for alias in node.names}
            elif source.removeprefix("app.").startswith("services."):
                yield from ((f"app.{source.removeprefix('app.')}", alias.name) for alias in node.names)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            yield modules[node.value.id], node.attr


def test_whatever_others_call_of_the_services_is_run_again_when_its_connection_is_lost() -> None:
    used = {pair for path in OUTSIDE for pair in list_used(path)}
    functions = {
        f"{found.__module__}.{name}": found
        for module, name in used
        if inspect.isfunction(found := getattr(importlib.import_module(module), name))
    }
    assert len(functions) > 25, "the rule has lost sight of the services"
    assert {name for name, found in functions.items() if not hasattr(found, RETRIED)} <= NOT_RETRIED.keys()
    assert NOT_RETRIED.keys() <= functions.keys()


def test_a_helper_of_the_services_serves_others_of_them_or_extensions_and_enters_no_transaction() -> None:
    trees = {path.stem: ast.parse(path.read_text()) for path in SERVICES.glob("*.py")}
    helpers = [
        (module, node)
        for module, tree in trees.items()
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        and not node.name.startswith("_")
        and not hasattr(getattr(importlib.import_module(f"app.services.{module}"), node.name), RETRIED)
        and f"app.services.{module}.{node.name}" not in NOT_RETRIED
    ]
    assert len(helpers) > 5, "the rule has lost sight of the helpers"
    # Extensions' services use what the public package offers.
    trees["gatehouse"] = ast.parse((ROOT / "gatehouse" / "__init__.py").read_text())
    used = {module: list_names(tree) for module, tree in trees.items()}
    for module, helper in helpers:
        users = [name for name, names in used.items() if name != module and helper.name in names]
        assert users or helper.name in gatehouse.__all__, (
            f"{module}.{helper.name} is called by no other service: make it private, or retried"
        )
        assert "transaction" not in list_names(helper), f"{module}.{helper.name} is called inside a transaction already"


def list_names(tree: ast.AST) -> set[str]:
    """Return every name and attribute that the code uses or imports."""
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return names | {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}


def test_no_constraint_that_was_violated_is_taken_for_another() -> None:
    handlers = [
        (path.name, node)
        for path in (ROOT / "app").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler) and node.type is not None and "IntegrityError" in ast.unparse(node.type)
    ]
    assert handlers
    # Each looks at what was violated, and passes on what it did not expect.
    for name, handler in handlers:
        assert any(isinstance(node, ast.Raise) and node.exc is None for node in ast.walk(handler)), name
