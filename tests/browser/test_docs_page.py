"""The page at /docs, in a real browser."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.servers.harness.product import Product

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Page

pytestmark = pytest.mark.server("chromium")

FLAGS = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync"]


@pytest.fixture
def product(environ: dict[str, str], tmp_path: Path) -> Iterator[Product]:
    with Product(environ | {"LOG_LEVEL": "INFO"}, folder=tmp_path) as running:
        yield running


@pytest.fixture
def page(product: Product) -> Iterator[Page]:
    """A page that may reach nothing but the product."""
    chromium = shutil.which("chromium")
    assert chromium, "Chromium is not installed: apt-get install chromium, or leave it out: --without chromium"
    # Chromium's sandbox refuses to run as root.
    flags = [*FLAGS, "--no-sandbox"] if os.geteuid() == 0 else FLAGS
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_page()
        page.route(
            "**/*", lambda route: route.continue_() if route.request.url.startswith(product.url) else route.abort()
        )
        yield page
        browser.close()


def test_the_page_lists_every_operation_offline_and_within_its_policy(page: Page, product: Product) -> None:
    complaints: list[str] = []
    foreign: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
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


def test_registering_from_the_page_signs_in(page: Page, product: Product) -> None:
    page.goto(f"{product.url}/docs")
    register = page.locator("#operations-auth-register, [id^='operations-auth-'][id*='register']").first
    register.locator(".opblock-summary").click()
    register.get_by_role("button", name="Try it out").click()
    body = '{"email": "ada@example.com", "password": "turnip lantern gravel osprey", "name": "Ada"}'
    register.locator("textarea.body-param__text").fill(body)
    register.get_by_role("button", name="Execute").click()

    expect(register.locator(".live-responses-table .response-col_status").nth(1)).to_contain_text("201")
    assert page.request.get(f"{product.url}/api/v1/users/me").json()["name"] == "Ada"


def is_own(url: str, product: Product) -> bool:
    return url.startswith((product.url, "data:"))
