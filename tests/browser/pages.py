"""A real browser's page."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
from typing import TYPE_CHECKING, Literal

from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

FLAGS = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync"]


# What can be read on the page whose contrast with its ground is below what WCAG 2.2 asks for (AA, 4.5).
FAINT_TEXTS = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const hasText = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  return [...document.querySelectorAll("body *")]
    .filter((element) => hasText(element) && element.getClientRects().length && !element.closest("script, noscript"))
    .map((element) => {
      const style = getComputedStyle(element);
      const both = [luminance(parse(style.color)), luminance(ground(element))].sort((a, b) => b - a);
      return [element.textContent.trim().slice(0, 40), element.className, (both[0] + 0.05) / (both[1] + 0.05)];
    })
    .filter(([, , contrast]) => contrast < 4.5);
}"""


@contextlib.contextmanager
def open_page(url: str) -> Iterator[Page]:
    """Yield a page that may reach nothing but the server at ``url``."""
    chromium = shutil.which("chromium")
    assert chromium, "Chromium is not installed: apt-get install chromium, or leave it out: --without chromium"
    # Chromium's sandbox refuses to run as root.
    flags = [*FLAGS, "--no-sandbox"] if os.geteuid() == 0 else FLAGS
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_page()
        page.route("**/*", lambda route: route.continue_() if route.request.url.startswith(url) else route.abort())
        yield page
        browser.close()


def assert_readable(page: Page) -> None:
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for scheme, width in itertools.product(schemes, (1280, 390)):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate(FAINT_TEXTS) == []
    assert page.evaluate("[...document.querySelectorAll('.bar input')].filter((input) => !input.labels.length)") == []
