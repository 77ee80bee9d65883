"""The lines of invoices over HTTP, on every database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatehouse import User
    from gatehouse.testing import Browser

    MakeInvoice = Callable[..., Any]

pytestmark = pytest.mark.every_database
LINES = [{"text": "Hammer", "quantity": 3, "price": "19.99"}, {"text": "Nails", "quantity": 1, "price": "0.03"}]


def test_lines_make_the_total_and_are_replaced_as_a_whole(
    admin_browser: Browser, user_browser: Browser, user: User, make_invoice: MakeInvoice
) -> None:
    path = f"/api/v1/invoices/{make_invoice(user)['id']}"
    for items, total in ((LINES, "60.00"), (LINES[1:], "0.03"), ([], "0.00")):
        assert admin_browser.put(f"{path}/lines", {"items": items}).get_json() == {"items": items}
        assert user_browser.get(f"{path}/lines").get_json() == {"items": items}
        assert user_browser.get(path).get_json()["total"] == total


def test_lines_go_with_their_invoice(admin_browser: Browser, user: User, make_invoice: MakeInvoice) -> None:
    path = f"/api/v1/invoices/{make_invoice(user)['id']}"
    admin_browser.put(f"{path}/lines", {"items": LINES})
    assert admin_browser.delete(path).status_code == 204
    for response in (admin_browser.get(f"{path}/lines"), admin_browser.put(f"{path}/lines", {"items": LINES})):
        assert (response.status_code, response.get_json()["code"]) == (404, "invoice_not_found")


def test_the_total_has_room_for_the_most_there_can_be(
    admin_browser: Browser, user: User, make_invoice: MakeInvoice
) -> None:
    path = f"/api/v1/invoices/{make_invoice(user)['id']}"
    most = {"text": "Gold", "quantity": 999, "price": "100000.00"}
    for price, total in (("100000.00", "9990000000.00"), ("-100000.00", "-9990000000.00")):
        assert admin_browser.put(f"{path}/lines", {"items": [most | {"price": price}] * 100}).status_code == 200
        assert admin_browser.get(path).get_json()["total"] == total
    for change in ({"price": "100000.01"}, {"quantity": 1000}):
        assert admin_browser.put(f"{path}/lines", {"items": [most | change]}).status_code == 422
    assert admin_browser.put(f"{path}/lines", {"items": [most] * 101}).status_code == 422
