"""Importing accounts while others change what the import relies on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from uuid_utils.compat import uuid7

from app.database import ReferenceRefused
from app.extensions import db
from app.models import Role, User
from app.security import Actor
from app.services import imports
from app.services.imports import Fault, ImportedUser, ImportRefused

if TYPE_CHECKING:
    from flask import Flask


def test_a_role_that_is_deleted_during_an_import_is_named(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    load = imports._load_roles

    def load_one_that_is_gone() -> dict[str, Role]:
        # From here on, looking again finds what is wrong.
        monkeypatch.setattr(imports, "find_faults", lambda *_, **__: [Fault(1, "roles", "There is no role gone.")])
        return load() | {"user": Role(id=uuid7(), name="user", description="")}

    monkeypatch.setattr(imports, "_load_roles", load_one_that_is_gone)
    row: Any = ImportedUser(line=1, email="ada@example.com")
    with app.app_context():
        with pytest.raises(ImportRefused) as refused:
            imports.import_users([row], actor=Actor.system(), on_progress=lambda _count: None)
        assert isinstance(refused.value.__cause__, ReferenceRefused)
        assert db.session.scalar(sa.select(sa.func.count()).select_from(User)) == 0
