"""SIGHUP takes up a changed ``.env`` without a restart and without a lost request."""

from __future__ import annotations

import shutil
import signal
import threading
from typing import TYPE_CHECKING

import pytest
import requests

from app.config import ROOT
from gatehouse.testing.servers.product import Product
from gatehouse.testing.servers.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def product(environ: dict[str, str], tmp_path: Path) -> Iterator[Product]:
    """The product from a folder of its own, limits on, with a ``.env`` that a test may change."""
    root = tmp_path / "project"
    for name in ("app", "gatehouse"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "run.py", root)
    write_limit(root, "100/minute")
    settings = environ | {"RATELIMIT_ENABLED": "true", "WORKERS": "2"}
    with Product(settings, folder=tmp_path, root=root) as product:
        yield product


def write_limit(root: Path, limits: str) -> None:
    (root / ".env").write_text(f"RATELIMIT_DEFAULT={limits}\n")


def ask_policy(product: Product) -> str:
    return requests.get(f"{product.url}/api/v1/auth/csrf", timeout=10).headers["RateLimit-Policy"]


def test_a_changed_limit_is_taken_up_and_no_request_is_lost(product: Product) -> None:
    assert "q=100;" in ask_policy(product)
    failures: list[Exception] = []
    is_over = threading.Event()

    def ask_on() -> None:
        while not is_over.is_set():
            try:
                requests.get(f"{product.url}/livez", timeout=10).raise_for_status()
            except requests.RequestException as error:
                failures.append(error)

    asking = threading.Thread(target=ask_on)
    asking.start()
    write_limit(product.root, "90/minute")
    product.send_signal(signal.SIGHUP)
    try:
        wait_until(
            lambda: all("q=90;" in ask_policy(product) for _ in range(6)), within_seconds=20, what="the new limit"
        )
    finally:
        is_over.set()
        asking.join()
    assert failures == []


def test_a_broken_file_leaves_the_settings_as_they_were(product: Product) -> None:
    write_limit(product.root, "90 apples")
    product.send_signal(signal.SIGHUP)
    wait_until(lambda: "90 apples" in product.log.read_text(), within_seconds=20, what="the complaint")
    wait_until(lambda: "q=100;" in ask_policy(product), within_seconds=20, what="an answer")


def test_an_extension_that_cannot_be_loaded_leaves_the_settings_as_they_were(product: Product) -> None:
    (product.root / ".env").write_text("RATELIMIT_DEFAULT=90/minute\nAPP_EXTENSIONS=acme_nothing\n")
    product.send_signal(signal.SIGHUP)
    wait_until(lambda: "acme_nothing" in product.log.read_text(), within_seconds=20, what="the complaint")
    wait_until(lambda: "q=100;" in ask_policy(product), within_seconds=20, what="an answer")
