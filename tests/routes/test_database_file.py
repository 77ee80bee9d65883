"""What callers are told when the file of an SQLite database is taken away under the server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from app.extensions import db
from gatehouse.testing.factories import PASSWORD, Browser
from gatehouse.testing.servers.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask


@pytest.mark.only_on("sqlite", reason="it is about a file")
def test_without_its_file_nothing_is_stored_and_readiness_says_why(app: Flask, make_app: Callable[..., Flask]) -> None:
    browser = Browser(app)
    with app.app_context():
        path = Path(db.engine.url.database or "")

    def wait_for(state: str, status: int) -> None:
        def is_told() -> bool:
            ready = browser.get("/readyz")
            return (ready.status_code, ready.get_json()["checks"]["database"]) == (status, state)

        # A busy machine may not come to look in the time that readiness waits.
        wait_until(is_told, within_seconds=10, what=f"readiness to say {state}")

    wait_for("ok", 200)
    body = {"email": "ada@example.com", "password": PASSWORD}
    moved = path.rename(path.with_suffix(".moved"))
    refused = browser.post("/api/v1/auth/register", body)
    assert (refused.status_code, refused.get_json()["code"]) == (503, "database_file_gone")
    assert int(refused.headers["Retry-After"]) >= 1
    wait_for("file_gone", 503)
    # A worker that starts meanwhile finds no file, and makes none.
    beginner = Browser(make_app())
    refused = beginner.post("/api/v1/auth/register", body)
    assert (refused.status_code, refused.get_json()["code"]) == (503, "database_file_gone")
    assert not path.exists()
    moved.rename(path)
    assert beginner.get("/api/v1/auth/csrf").status_code == 200
    assert browser.post("/api/v1/auth/register", body).status_code == 201
    wait_for("ok", 200)
