"""A small application on the production server: ``tiny.py PORT WORKERS THREADS DELAY FOLDER CONSTANTS``.

``CONSTANTS`` is a JSON object of what is to be other than in earnest, as ``{"worker.ACCEPT_PAUSE_SECONDS": 1}``.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from app.server import is_draining, master, worker
from app.server.master import serve

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

MAX_BODY_BYTES = 1000
port, workers, threads = map(int, sys.argv[1:4])
delay = float(sys.argv[4])
folder = Path(sys.argv[5])
for name, value in json.loads(sys.argv[6]).items():
    module, constant = name.split(".")
    assert hasattr({"worker": worker, "master": master}[module], constant)
    setattr({"worker": worker, "master": master}[module], constant, value)

LONG = [bytes([number]) * 65536 for number in range(128)]


def stream(how: str) -> Iterator[bytes]:
    """Yield eight MiB in pieces, or fail after the first; ``folder`` learns that it was closed."""
    try:
        for piece in LONG:
            yield piece
            assert how != "fail"
    finally:
        (folder / "closed").touch()


def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer ``/readyz``, ``/hold/NAME`` (until the file ``release`` exists), and what is named below."""
    path = environ["PATH_INFO"]
    status = "200 OK"
    if path == "/readyz" and is_draining():
        status = "503 Service Unavailable"
    elif path.startswith("/hold/"):
        (folder / path.removeprefix("/hold/")).touch()
        while not (folder / "release").exists():
            time.sleep(0.01)
    elif path == "/nap":
        time.sleep(0.005)
    if path in {"/long", "/stream", "/fail"}:
        start_response(status, [("Content-Length", str(sum(map(len, LONG))))] if path == "/long" else [])
        return [b"".join(LONG)] if path == "/long" else stream(path.removeprefix("/"))
    seen = {
        "pid": os.getpid(),
        "scheme": environ["wsgi.url_scheme"],
        "forwarded_for": environ.get("HTTP_X_FORWARDED_FOR"),
        "read": len(environ["wsgi.input"].read(MAX_BODY_BYTES + 1)) if path == "/read" else None,
    }
    body = json.dumps(seen).encode()
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def make() -> WSGIApplication:
    """Return the application."""
    return answer


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    serve(
        make,
        host="127.0.0.1",
        port=port,
        workers=workers,
        threads=threads,
        max_body_bytes=MAX_BODY_BYTES,
        shutdown_delay=delay,
    )
