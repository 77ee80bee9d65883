"""Invoices over HTTP, on every database."""

from __future__ import annotations

import csv
import io
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from gatehouse.testing import Factory

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask

    from gatehouse import User
    from gatehouse.testing import Browser

    MakeInvoice = Callable[..., Any]

pytestmark = pytest.mark.every_database
PATH = "/api/v1/invoices"


def test_an_invoice_that_is_made_can_be_read(admin_browser: Browser, user: User, make_invoice: MakeInvoice) -> None:
    made = make_invoice(user, number="R-2026-1", total="1234.50", due_on="2026-12-24")
    assert made == {
        "id": made["id"],
        "number": "R-2026-1",
        "customer_id": str(user.id),
        "status": "draft",
        "total": "1234.50",
        "is_paid": False,
        "due_on": "2026-12-24",
        "created_at": made["created_at"],
        "updated_at": made["updated_at"],
    }
    assert admin_browser.get(f"{PATH}/{made['id']}").get_json() == made


def test_an_invoice_is_changed_in_what_is_given(admin_browser: Browser, user: User, make_invoice: MakeInvoice) -> None:
    made = make_invoice(user)
    changed = admin_browser.patch(f"{PATH}/{made['id']}", {"status": "sent", "total": "0.99"}).get_json()
    assert changed == made | {"status": "sent", "total": "0.99", "updated_at": changed["updated_at"]}


def test_an_invoice_is_deleted_for_good(admin_browser: Browser, user: User, make_invoice: MakeInvoice) -> None:
    path = f"{PATH}/{make_invoice(user)['id']}"
    assert admin_browser.delete(path).status_code == 204
    for response in (admin_browser.get(path), admin_browser.patch(path, {"total": "1.00"}), admin_browser.delete(path)):
        assert response.status_code == 404
        assert response.get_json()["code"] == "invoice_not_found"


def test_two_invoices_have_two_numbers(admin_browser: Browser, user: User, make_invoice: MakeInvoice) -> None:
    make_invoice(user, number="R-1")
    other = make_invoice(user, number="R-2")
    taken = admin_browser.patch(f"{PATH}/{other['id']}", {"number": "R-1"})
    assert (taken.status_code, taken.get_json()["code"]) == (409, "number_taken")
    body = {key: other[key] for key in ("number", "customer_id", "total", "due_on")}
    assert admin_browser.post(PATH, body).get_json()["code"] == "number_taken"


def test_a_customer_who_does_not_exist_is_refused_by_the_field(
    admin_browser: Browser, user: User, make_invoice: MakeInvoice
) -> None:
    nobody = {"customer_id": str(uuid.uuid4())}
    made = make_invoice(user)
    body = {key: made[key] for key in ("total", "due_on")} | {"number": "R-2"} | nobody
    for response in (admin_browser.post(PATH, body), admin_browser.patch(f"{PATH}/{made['id']}", nobody)):
        assert response.status_code == 422
        assert response.get_json()["errors"] == {"customer_id": ["There is nothing with this id."]}


class TestTheList:
    def test_is_walked_by_pages_in_every_order(
        self, admin_browser: Browser, user: User, make_invoice: MakeInvoice
    ) -> None:
        make_invoice(user, number="B", total="2.00", due_on="2026-03-01")
        make_invoice(user, number="A", total="10.00", due_on="2026-02-01")
        make_invoice(user, number="C", total="2.00", due_on="2026-01-01")
        orders = {"number": "ABC", "-number": "CBA", "due_on": "CAB", "created_at": "BAC", "-created_at": "CAB"}
        for sort, expected in orders.items():
            assert "".join(self.walk(admin_browser, sort)) == expected
        assert self.walk(admin_browser, "total")[-1] == "A"
        assert self.walk(admin_browser, "-total")[0] == "A"

    @staticmethod
    def walk(browser: Browser, sort: str) -> list[str]:
        """Return all numbers, fetched one at a time."""
        numbers, cursor = [], ""
        while cursor is not None:
            page = browser.get(f"{PATH}?limit=1&sort={sort}" + (f"&cursor={cursor}" if cursor else "")).get_json()
            numbers += [invoice["number"] for invoice in page["items"]]
            cursor = page["next_cursor"]
        return numbers

    def test_is_searched_and_filtered(
        self, admin_browser: Browser, factory: Factory, user: User, make_invoice: MakeInvoice
    ) -> None:
        make_invoice(user, number="Alpha 1", status="sent")
        make_invoice(user, number="Alpha 2", is_paid=True)
        make_invoice(factory.user(), number="Beta 1")
        for query, expected in {
            "q=alp": {"Alpha 1", "Alpha 2"},
            "q=1": {"Alpha 1", "Beta 1"},
            "status=sent": {"Alpha 1"},
            "is_paid=true": {"Alpha 2"},
            f"customer_id={user.id}&is_paid=false": {"Alpha 1"},
            "q=alpha&status=void": set(),
        }.items():
            found = admin_browser.get(f"{PATH}?{query}").get_json()["items"]
            assert {invoice["number"] for invoice in found} == expected, query


class TestACustomer:
    def test_sees_their_own_invoices_and_no_others(
        self, user_browser: Browser, factory: Factory, user: User, make_invoice: MakeInvoice
    ) -> None:
        own, other = make_invoice(user), make_invoice(factory.user())
        assert [each["id"] for each in user_browser.get(PATH).get_json()["items"]] == [own["id"]]
        assert user_browser.get(f"{PATH}/{own['id']}").get_json() == own
        for path in (f"{PATH}/{other['id']}", f"{PATH}/{other['id']}/lines"):
            assert user_browser.get(path).status_code == 404
        assert user_browser.get(f"{PATH}?customer_id={other['customer_id']}").get_json()["items"] == []
        assert other["number"] not in user_browser.get(f"{PATH}/export.csv").text

    def test_changes_none(self, user_browser: Browser, user: User, make_invoice: MakeInvoice) -> None:
        own = make_invoice(user)
        for response in (
            user_browser.patch(f"{PATH}/{own['id']}", {"is_paid": True}),
            user_browser.delete(f"{PATH}/{own['id']}"),
            user_browser.put(f"{PATH}/{own['id']}/lines", {"items": []}),
            user_browser.post(PATH, {}),
        ):
            assert response.status_code == 403


class TestTheExport:
    def test_holds_what_the_list_holds_and_no_formulas(
        self, admin_browser: Browser, user: User, make_invoice: MakeInvoice
    ) -> None:
        make_invoice(user, number="=1+1", status="sent")
        make_invoice(user, number="R-2", status="sent")
        make_invoice(user, number="R-3")
        response = admin_browser.get(f"{PATH}/export.csv?status=sent&sort=number")
        assert response.content_type == "text/csv; charset=utf-8"
        rows = list(csv.DictReader(io.StringIO(response.text)))
        assert [(row["number"], row["total"], row["status"]) for row in rows] == [
            ("'=1+1", "10.00", "sent"),
            ("R-2", "10.00", "sent"),
        ]

    def test_is_limited_for_each_user(self, make_app: Callable[..., Flask]) -> None:
        app = make_app(RATELIMIT_ENABLED="true", RATELIMIT_ACME_INVOICES_EXPORT="2/hour")
        factory = Factory(app)
        first, second = (factory.sign_in(factory.user()) for _ in range(2))
        assert [first.get(f"{PATH}/export.csv").status_code for _ in range(3)] == [200, 200, 429]
        assert second.get(f"{PATH}/export.csv").status_code == 200
