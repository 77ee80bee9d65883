"""The application that every server serves in the comparison: Flask, as the product is."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from typing import TYPE_CHECKING

from flask import Flask, Response, jsonify, request

if TYPE_CHECKING:
    from pathlib import Path

ROWS = 2000
_local = threading.local()


def fill(path: Path) -> None:
    """Make the SQLite file that ``/query`` reads."""
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT, name TEXT, created_at TEXT)")
        connection.executemany(
            "INSERT INTO users (email, name, created_at) VALUES (?, ?, ?)",
            [(f"user{n}@example.com", f"User {n % 97}", "2026-01-01T00:00:00Z") for n in range(ROWS)],
        )
    connection.close()


def _connect() -> sqlite3.Connection:
    if not hasattr(_local, "connection"):
        _local.connection = sqlite3.connect(os.environ["BENCH_DATABASE"])
    connection: sqlite3.Connection = _local.connection
    return connection


def create_app() -> Flask:
    """Return the application."""
    app = Flask(__name__)

    @app.get("/json")
    def get_json() -> Response:
        return jsonify(status="ok")

    @app.get("/query")
    def get_query() -> Response:
        rows = _connect().execute(
            "SELECT id, email, name, created_at FROM users WHERE name LIKE ? ORDER BY email LIMIT 50", ("%9%",)
        )
        return jsonify(items=[dict(zip(("id", "email", "name", "created_at"), row, strict=True)) for row in rows])

    @app.get("/slow")
    def get_slow() -> Response:
        time.sleep(float(request.args["seconds"]))
        return jsonify(status="ok", pid=os.getpid())

    @app.route("/echo", methods=["GET", "POST"])
    def echo() -> Response:
        body = request.get_data()
        seen = {
            key: value for key, value in request.environ.items() if isinstance(value, str) and key not in os.environ
        }
        return Response(json.dumps({"environ": seen, "bytes": len(body)}), content_type="application/json")

    @app.get("/pid")
    def get_pid() -> Response:
        return jsonify(pid=os.getpid())

    return app
