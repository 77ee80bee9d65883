"""The house's rules on the whole of the extension: see ``assert_extension``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acme_invoices import extension

if TYPE_CHECKING:
    from gatehouse.testing import AssertExtension


def test_the_extension_keeps_the_rules(assert_extension: AssertExtension) -> None:
    assert_extension(extension)
