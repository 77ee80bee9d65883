"""``flask invoices overdue``, on every database."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask

    from gatehouse import User

    MakeInvoice = Callable[..., Any]

pytestmark = pytest.mark.every_database


def test_overdue_lists_what_was_sent_is_due_and_is_not_paid(app: Flask, user: User, make_invoice: MakeInvoice) -> None:
    late = {"status": "sent", "due_on": "2020-02-01"}
    make_invoice(user, number="second", **late)
    make_invoice(user, number="first", **late | {"due_on": "2020-01-01"})
    make_invoice(user, number="paid", **late, is_paid=True)
    make_invoice(user, number="draft", **late | {"status": "draft"})
    make_invoice(user, number="not due", **late | {"due_on": "2999-12-31"})

    ran = app.test_cli_runner().invoke(args=["invoices", "overdue", "--json"])
    found = json.loads(ran.output)
    assert [each["number"] for each in found["items"]] == ["first", "second"]
    assert found["items"][0] == {"number": "first", "customer": user.email, "due_on": "2020-01-01", "total": "10.00"}

    ran = app.test_cli_runner().invoke(args=["invoices", "overdue", "--limit", "1"])
    assert [line.split() for line in ran.output.splitlines()] == [
        ["NUMBER", "CUSTOMER", "DUE", "TOTAL", "(EUR)"],
        ["first", user.email, "2020-01-01", "10.00"],
    ]


def test_the_currency_is_a_setting(make_app: Callable[..., Flask]) -> None:
    app = make_app(ACME_INVOICES_CURRENCY="CHF")
    assert "TOTAL (CHF)" in app.test_cli_runner().invoke(args=["invoices", "overdue"]).output
