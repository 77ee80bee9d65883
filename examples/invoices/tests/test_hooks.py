"""What the product asks the invoices, on every database: about users, their exports and deletion, and their health."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from gatehouse import transaction

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask

    from gatehouse import User
    from gatehouse.testing import Browser, Factory

    MakeInvoice = Callable[..., Any]

pytestmark = pytest.mark.every_database


def test_a_user_is_seen_with_the_number_of_open_invoices(
    admin_browser: Browser, user: User, make_invoice: MakeInvoice
) -> None:
    for fields in ({"status": "sent"}, {"status": "sent"}, {"status": "sent", "is_paid": True}, {"status": "draft"}):
        make_invoice(user, **fields)
    described = admin_browser.get(f"/api/v1/users/{user.id}").get_json()["extensions"]
    assert described == {"acme_invoices": {"open_invoices": 2}}


def test_a_page_of_users_costs_one_more_question(
    admin_browser: Browser, factory: Factory, make_invoice: MakeInvoice, statements: list[str]
) -> None:
    customers = [factory.user() for _ in range(5)]
    for customer in customers:
        make_invoice(customer, status="sent")
    statements.clear()
    page = admin_browser.get("/api/v1/users?limit=50").get_json()["items"]
    found = {each["id"]: each["extensions"]["acme_invoices"]["open_invoices"] for each in page}
    assert [found[str(customer.id)] for customer in customers] == [1] * 5
    assert len([statement for statement in statements if "acme_invoices" in statement]) == 1


def test_a_user_s_export_holds_their_invoices(
    user_browser: Browser, factory: Factory, user: User, make_invoice: MakeInvoice
) -> None:
    own = [make_invoice(user), make_invoice(user)]
    make_invoice(factory.user())
    assert user_browser.get("/api/v1/users/me/export").get_json()["extensions"] == {"acme_invoices": own}


def test_a_user_who_has_invoices_is_kept(admin_browser: Browser, user: User, make_invoice: MakeInvoice) -> None:
    invoice = make_invoice(user)
    refused = admin_browser.delete(f"/api/v1/users/{user.id}")
    assert (refused.status_code, refused.get_json()["code"]) == (409, "user_in_use")
    assert "acme_invoices" in refused.get_json()["detail"]
    assert admin_browser.delete(f"/api/v1/invoices/{invoice['id']}").status_code == 204
    assert admin_browser.delete(f"/api/v1/users/{user.id}").status_code == 204


@pytest.mark.only_on("sqlite", reason="what is done to the table is the same everywhere")
def test_readiness_asks_about_the_invoices(app: Flask, browser: Browser) -> None:
    assert browser.get("/readyz").get_json()["status"] == "ok"
    with app.app_context(), transaction() as writing:
        writing.execute(sa.text("ALTER TABLE acme_invoices RENAME TO acme_invoices_away"))
    assert browser.get("/readyz").get_json()["status"] == "degraded"
