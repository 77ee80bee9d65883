"""Parts of an extension of a type that says nothing."""

from __future__ import annotations

from typing import Any

import pytest

from app.config import Settings
from app.extending import Extension, ExtensionsRefused
from app.product import load_extensions
from gatehouse.testing.databases import TEST_ENVIRON


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("version", 1),
        ("models", 7),
        ("blueprints", None),
        ("permissions", ["a:b"]),
        ("limits", "10/minute"),
        ("commands", 5),
        ("migrations", "migrations"),
        ("on_user_deletion", []),
        ("export_user", "yes"),
        ("check_health", 1),
    ],
)
def test_a_part_of_a_wrong_type_is_one_fault(part: str, value: Any) -> None:
    parts: dict[str, Any] = {"name": "acme_stock", "version": "1.0", "face": 1} | {part: value}
    with pytest.raises(ExtensionsRefused) as refused:
        load_extensions(Settings.from_environ(TEST_ENVIRON), [Extension(**parts)])
    (fault,) = refused.value.faults
    assert fault.startswith(f"acme_stock: its {part} is a {type(value).__name__}: make it a")
