"""What all tests of the invoices start from."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatehouse import User
    from gatehouse.testing import Browser


@pytest.fixture
def make_invoice(admin_browser: Browser) -> Callable[..., Any]:
    """Make an invoice to a customer, as the office does."""
    numbers = itertools.count(1)

    def make(customer: User, **fields: Any) -> Any:
        body = {"number": f"R-{next(numbers)}", "customer_id": str(customer.id), "total": "10.00"}
        response = admin_browser.post("/api/v1/invoices", body | {"due_on": "2026-12-31"} | fields)
        assert response.status_code == 201, response.text
        return response.get_json()

    return make
