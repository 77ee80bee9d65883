"""Rules about how the code is laid out: names, and sizes that fit a reader's head."""

from __future__ import annotations

import importlib
from typing import Final

import pytest

from app.config import ROOT
from app.routes import BLUEPRINTS

ROUTES: Final = sorted(path.stem for path in (ROOT / "app" / "routes").glob("[!_]*.py"))


@pytest.mark.parametrize("name", ROUTES)
def test_a_blueprint_is_named_as_its_file(name: str) -> None:
    blueprint = importlib.import_module(f"app.routes.{name}").blueprint
    assert blueprint.name == name
    assert blueprint in BLUEPRINTS, "a blueprint that is not listed serves nothing"
