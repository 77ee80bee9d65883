"""Which other origins' pages may call the API with cookies (CORS)."""

import re
from collections.abc import Collection

from flask import Flask
from flask_cors import CORS


def allow_origins(app: Flask, origins: Collection[str]) -> None:
    """Let pages of exactly these ``origins`` call ``app`` with cookies and read its answers."""
    if not origins:
        return
    CORS(
        app,
        # Flask-CORS takes a plain string with brackets (an IPv6 host) for an unanchored expression, and shows the whole
        # list to callers that send no Origin.
        origins=[re.compile(re.escape(origin) + r"\Z") for origin in origins],
        supports_credentials=True,
        allow_headers=["Content-Type", "X-CSRF-Token", "X-Request-ID"],
        expose_headers=["X-Request-ID", "RateLimit", "RateLimit-Policy", "Retry-After"],
        max_age=600,
        vary_header=True,
    )
