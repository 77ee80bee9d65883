"""The pages that answer mailed links, and the preview of mails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from app.mail import SAMPLES
from app.routes.page import PAGES

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask

    from gatehouse.testing.factories import Browser

pytestmark = pytest.mark.no_database


@pytest.mark.parametrize("page", PAGES)
def test_a_page_speaks_the_language_of_the_browser_and_runs_our_files_alone(browser: Browser, page: str) -> None:
    for wanted, language in (("de-AT,de;q=0.9", "de"), ("fr", "en"), ("", "en")):
        answer = browser.client.get(f"/account/{page}", headers={"Accept-Language": wanted})
        assert answer.status_code == 200
        assert f'<html lang="{language}">' in answer.text
        assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert "Accept-Language" in answer.headers["Vary"]
        assert "<script>" not in answer.text
        assert " style=" not in answer.text


def test_opening_a_link_uses_nothing_up(browser: Browser) -> None:
    """A scanner's GET or HEAD asks for a page; the token is no part of what is sent."""
    for method in ("GET", "HEAD"):
        assert browser.client.open("/account/verify", method=method).status_code == 200
    assert browser.client.post("/account/verify").status_code in {403, 405}


def test_a_page_shows_the_name_and_the_color_of_the_site(make_app: Callable[..., Flask]) -> None:
    client = make_app(SITE_NAME="<Acme & Söhne>", SITE_ACCENT="#FFEE00").test_client()
    assert "&lt;Acme &amp; Söhne&gt;" in client.get("/account/reset").text
    colors = client.get("/account/colors.css")
    assert (colors.mimetype, "#ffee00" in colors.text, "#000000" in colors.text) == ("text/css", True, True)


def test_an_invited_person_is_asked_for_a_password_where_people_sign_in_by_one(make_app: Callable[..., Flask]) -> None:
    for methods, has_field in (("password", True), ("mail_link", False)):
        page = make_app(SIGN_IN_METHODS=methods).test_client().get("/account/invitation").text
        assert ('type="password"' in page) is has_field


def test_mails_are_shown_with_made_up_values(browser: Browser) -> None:
    listed = browser.client.get("/dev/mail").text
    for template in SAMPLES:
        for language in ("en", "de"):
            for form in ("html", "txt"):
                path = f"/dev/mail/{template}/{language}/{form}"
                assert path in listed
                answer = browser.client.get(path)
                assert answer.status_code == 200
                assert "script-src" not in answer.headers["Content-Security-Policy"]
                assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert browser.client.get("/dev/mail/config/en/html").status_code == 404


def test_no_mail_is_shown_where_the_operator_shows_none(make_app: Callable[..., Flask]) -> None:
    client = make_app(MAIL_PREVIEW="false").test_client()
    assert [client.get(path).status_code for path in ("/dev/mail", "/dev/mail/reset_password/en/html")] == [404, 404]
