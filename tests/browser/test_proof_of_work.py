"""Proofs of work, computed by a real browser as the documentation shows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from app.config import ROOT
from gatehouse.testing.factories import PASSWORD
from gatehouse.testing.servers.product import Product
from tests.browser.pages import open_page

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Page

pytestmark = pytest.mark.server("chromium")

SETTINGS = {"RATELIMIT_ENABLED": "true", "PROOF_OF_WORK": "on", "PROOF_OF_WORK_COST": "40"}
REGISTER = """async (body) => {
  const { post } = await import("/as-documented.js");
  const answer = await post("/api/v1/auth/register", body);
  return [answer.status, await answer.json()];
}"""


@pytest.fixture
def page(environ: dict[str, str], tmp_path: Path) -> Iterator[Page]:
    """A page of the product's, which can import the documented module."""
    [module] = re.findall(r"```js\n(.*?)```", (ROOT / "docs" / "proof-of-work.md").read_text(), re.DOTALL)
    with Product(environ | SETTINGS, folder=tmp_path) as product, open_page(product.url) as page:
        page.route("**/as-documented.js", lambda route: route.fulfill(body=module, content_type="text/javascript"))
        page.goto(f"{product.url}/")
        yield page


def register(page: Page, email: str) -> Any:
    return page.evaluate(REGISTER, {"email": email, "password": PASSWORD})


def test_a_front_registers_people_as_the_documentation_shows(page: Page) -> None:
    called: list[str] = []
    page.on("request", lambda request: called.append(f"{request.method} {request.url.partition('/api/v1/auth/')[2]}"))
    for email in ("ada@example.com", "bob@example.com"):
        status, user = register(page, email)
        assert (status, user["email"]) == (201, email)
    calls = [call for call in called if not call.endswith(" ")]
    assert calls == ["GET csrf", "POST register", "GET proof-of-work", "POST register"] * 2
    assert register(page, "no address")[0] == 422
    assert called[-2:] == ["GET csrf", "POST register"]


def test_our_own_pages_prove_the_work_that_is_asked_for(page: Page) -> None:
    page.goto(f"{page.url}account/invitation#token=of-no-invitation-that-there-is")
    page.get_by_label("E-mail").fill("ada@example.com")
    page.locator("[name=password]").fill(PASSWORD)
    page.get_by_role("button").click()
    # The work was taken, and the invitation looked at.
    expect(page.get_by_role("alert")).to_contain_text("This link is not valid any more")
