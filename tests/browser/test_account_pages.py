"""The pages that answer mailed links, in a real browser, with mails that a running server sent."""

from __future__ import annotations

import email
import email.policy
import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from gatehouse.testing.factories import PASSWORD
from gatehouse.testing.servers.product import Product
from gatehouse.testing.servers.waiting import wait_until
from tests.browser.pages import assert_readable, open_page

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Page

pytestmark = pytest.mark.server("chromium")

ADA = "ada@example.com"


class Site:
    """A running server that verifies addresses, what it mails, and a page that may reach nothing else."""

    def __init__(self, product: Product, page: Page, mails: Path) -> None:
        self.product = product
        self.page = page
        self._mails = mails

    def post(self, path: str, body: dict[str, str]) -> int:
        """Send a call from the page's browser."""
        request = self.page.request
        token = request.get(f"{self.product.url}/api/v1/auth/csrf").json()["csrf_token"]
        return request.post(f"{self.product.url}/api/v1{path}", data=body, headers={"X-CSRF-Token": token}).status

    def open_link(self, page: str) -> None:
        """Open the link of the newest mail that leads to ``page``."""
        found: list[str] = []

        def look() -> bool:
            for path in sorted(self._mails.glob("*.eml")):
                body = email.message_from_bytes(path.read_bytes(), policy=email.policy.default).get_body(("plain",))
                assert body is not None
                found.extend(re.findall(rf"http\S+/account/{page}#token=\S+", body.get_content()))
            return bool(found)

        wait_until(look, within_seconds=20, what=f"a mail with a link to {page}")
        self.page.goto(found[-1])


@pytest.fixture
def site(environ: dict[str, str], tmp_path: Path) -> Iterator[Site]:
    mails = tmp_path / "mails"
    changes = {
        "SIGN_IN_METHODS": "password,mail_link",
        "EMAIL_VERIFICATION": "required",
        "MAIL_URL": f"file:{mails}",
        "SITE_NAME": "Acme",
    }
    product = Product(environ | changes, folder=tmp_path)
    product.environ["PUBLIC_URL"] = product.url
    with product, open_page(product.url) as page:
        yield Site(product, page, mails)


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def test_a_person_begins_an_account_and_chooses_a_new_password(site: Site) -> None:
    page = site.page
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    assert site.post("/auth/register", {"email": ADA, "password": PASSWORD}) == 202
    site.open_link("verify")
    assert "#" not in page.url, "the token stays in the address bar"
    expect(page).to_have_title("Verify your address \u2013 Acme")
    press(page, "Verify the address")
    expect(page.get_by_text("Your address is verified.")).to_be_focused()
    assert site.post("/auth/login", {"email": ADA, "password": PASSWORD}) == 200

    page.goto(f"{site.product.url}/account/reset")
    page.get_by_label("E-mail address").fill(ADA)
    press(page, "Send the link")
    expect(page.get_by_text("If there is an account with this address, a mail is on its way.")).to_be_visible()
    site.open_link("reset")
    page.get_by_label("New password").fill("saddle copper lagoon whistle")
    press(page, "Set the password")
    expect(page.get_by_text("Your new password is set. Sign in with it.")).to_be_visible()
    assert site.post("/auth/login", {"email": ADA, "password": PASSWORD}) == 401
    assert site.post("/auth/login", {"email": ADA, "password": "saddle copper lagoon whistle"}) == 200
    assert complaints == []


def test_a_person_signs_in_by_a_mailed_link_in_the_browser_that_asked(site: Site) -> None:
    page = site.page
    assert site.post("/auth/register", {"email": ADA, "password": PASSWORD}) == 202
    site.open_link("verify")
    press(page, "Verify the address")
    expect(page.get_by_text("Your address is verified.")).to_be_visible()
    assert site.post("/auth/mail-sign-in", {"email": ADA}) == 202
    site.open_link("sign-in")
    me = f"{site.product.url}/api/v1/users/me"
    assert page.request.get(me).status == 401, "to open the link is not to use it"
    press(page, "Sign in")
    expect(page.get_by_text("You are signed in.")).to_be_visible()
    assert page.request.get(me).json()["email"] == ADA


def test_what_is_wrong_is_said_in_words_and_nothing_typed_is_lost(site: Site) -> None:
    page = site.page
    page.goto(f"{site.product.url}/account/verify")
    expect(page.get_by_role("alert")).to_have_text("This link is not whole. Open it from the mail, or copy all of it.")
    page.goto(f"{site.product.url}/account/reset#token=used")
    page.get_by_label("New password").fill("123456789012345")
    press(page, "Set the password")
    expect(page.get_by_role("alert")).not_to_be_empty()
    expect(page.get_by_label("New password")).to_have_value("123456789012345")
    page.get_by_label("New password").fill("saddle copper lagoon whistle")
    press(page, "Set the password")
    expect(page.get_by_role("alert")).to_contain_text("This link is not valid any more")


def test_the_pages_can_be_read_in_light_and_dark_on_wide_and_narrow_screens(site: Site) -> None:
    for path in ("/account/reset", "/account/invitation#token=x", "/account/not-me#token=x", "/dev/mail"):
        site.page.goto(f"{site.product.url}{path}")
        assert_readable(site.page)
