"""The page at /docs, in a real browser."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from flask import Response
from playwright.sync_api import expect
from werkzeug.serving import make_server

import app as package
from app.http.openapi import Blueprint
from app.routes import BLUEPRINTS
from app.schemas import Input
from app.schemas.values import Text
from app.security import requires
from gatehouse.testing.servers.product import Product
from tests.browser.pages import assert_readable, open_page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flask import Flask
    from playwright.sync_api import ConsoleMessage, Locator, Page

pytestmark = pytest.mark.server("chromium")


@pytest.fixture
def product(environ: dict[str, str], tmp_path: Path) -> Iterator[Product]:
    with Product(environ | {"LOG_LEVEL": "INFO"}, folder=tmp_path) as running:
        yield running


@pytest.fixture
def page(product: Product) -> Iterator[Page]:
    """A page that may reach nothing but the product."""
    with open_page(product.url) as page:
        yield page


# A page that asks who is signed in is told "nobody" with 401, which the browser writes to its console.
EXPECTED_COMPLAINT = "status of 401"


def test_the_page_lists_every_operation_offline_and_within_its_policy(page: Page, product: Product) -> None:
    complaints: list[str] = []
    foreign: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if is_complaint(message) else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: foreign.append(request.url) if not is_own(request.url, product) else None)
    page.add_init_script(
        "document.addEventListener('securitypolicyviolation', e => console.error('CSP: ' + e.violatedDirective))"
    )

    page.goto(f"{product.url}/docs")
    document = page.request.get(f"{product.url}/openapi.json").json()
    operations = sum(
        len(path.keys() & {"get", "post", "put", "patch", "delete"}) for path in document["paths"].values()
    )

    expect(page.locator(".opblock")).to_have_count(operations)
    assert complaints == []
    assert foreign == []


def test_signing_in_on_the_page_lets_calls_be_tried_at_once(page: Page, product: Product) -> None:
    page.goto(f"{product.url}/docs")
    open_operation(page, "register").get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    expect(page.locator("#signed-in")).to_contain_text("ada@example.com")
    page.get_by_role("button", name="Sign out", exact=True).click()

    page.get_by_label("E-mail").fill("ada@example.com")
    page.get_by_label("Password", exact=True).fill("not the password of Ada")
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("status")).not_to_be_empty()
    page.get_by_label("Password", exact=True).fill("turnip lantern gravel osprey")
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.locator("#signed-in")).to_contain_text("ada@example.com")
    expect(page.get_by_role("status")).to_be_empty()

    page.locator("#operations-auth-register .opblock-summary-control").click()
    change = open_operation(page, "update_me")
    change.get_by_role("button", name="Try it out").click()
    change.get_by_role("button", name="Execute").click()
    expect(change.locator(".live-responses-table .response-col_status").nth(1)).to_contain_text("200")
    call = change.locator(".call").inner_text()
    assert all(part in call for part in ("-b cookies.txt -c cookies.txt", "X-CSRF-Token: $token", product.url))


def test_an_operation_is_short_its_errors_fold_open_and_nothing_asks_for_a_cookie(page: Page, product: Product) -> None:
    page.goto(f"{product.url}/docs")
    register = open_operation(page, "register")
    expect(register.locator(".call")).to_contain_text("-b cookies.txt -c cookies.txt")
    height = register.bounding_box()
    assert height is not None
    assert height["height"] < 1650
    errors = register.locator("details.errors")
    expect(errors.get_by_text("email_taken")).to_be_hidden()
    errors.locator("summary").press("Enter")
    expect(errors.get_by_text("email_taken")).to_be_visible()
    expect(page.get_by_role("button", name="Authorize")).to_have_count(0)


def test_the_pages_can_be_read_in_light_and_dark_on_wide_and_narrow_screens(page: Page, product: Product) -> None:
    page.goto(f"{product.url}/")
    assert_readable(page)
    page.goto(f"{product.url}/docs")
    open_operation(page, "register").locator("details.errors summary").click()
    open_operation(page, "list_users")
    assert_readable(page)


def test_the_page_shows_what_another_package_adds(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    blueprint = Blueprint("acme_notes", "acme_notes.routes", url_prefix="/api/v1/notes", description="Notes of Acme")
    schema = type("NoteInput", (Input,), {"__module__": "acme_notes.schemas", "text": Text(max_length=80)})

    @blueprint.route("", methods=["POST"])
    @blueprint.response(204)
    @blueprint.arguments(schema)
    @requires("users:write")
    def add_note(body: dict[str, Any]) -> Response:
        """Write something down."""
        assert body
        return Response(status=204)

    monkeypatch.setattr(package, "BLUEPRINTS", (*BLUEPRINTS, blueprint))
    server = make_server("127.0.0.1", 0, make_app(), threaded=True)
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    try:
        with open_page(f"http://127.0.0.1:{server.server_port}") as page:
            page.goto(f"http://127.0.0.1:{server.server_port}/docs")
            group = page.locator(".opblock-tag-section", has=page.locator("[data-tag=acme_notes]"))
            expect(group).to_contain_text("Notes of Acme")
            expect(group).to_contain_text("Write something down")
            operation = open_operation(page, "acme_notes_add_note")
            expect(operation).to_contain_text("Needs the permission users:write.")
            expect(operation.locator(".call")).to_contain_text('{"text": "Example"}')
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


def open_operation(page: Page, name: str) -> Locator:
    operation = page.locator(f"[id^=operations-][id$=-{name}]")
    operation.locator(".opblock-summary-control").click()
    expect(operation.locator("details.errors")).to_be_attached()
    return operation


def is_complaint(message: ConsoleMessage) -> bool:
    return message.type == "error" and EXPECTED_COMPLAINT not in message.text


def is_own(url: str, product: Product) -> bool:
    return url.startswith((product.url, "data:"))
