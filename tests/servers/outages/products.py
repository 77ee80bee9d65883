"""The product on a database that is brought up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatehouse.testing.databases import TEST_ENVIRON
from gatehouse.testing.servers.product import Product

if TYPE_CHECKING:
    from pathlib import Path

WORKERS = 2


def make_product(url: str, *, folder: Path) -> Product:
    """Return the product, not yet started, without rate limits and on the database of ``url`` brought up to date."""
    environ = TEST_ENVIRON | {"DATABASE_URL": url, "WORKERS": str(WORKERS), "LOG_LEVEL": "WARNING"}
    product = Product(environ, folder=folder)
    product.migrate()
    return product
