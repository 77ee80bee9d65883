"""Which other sites' pages may call with their visitors' cookies."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from flask_cors import CORS

if TYPE_CHECKING:
    from collections.abc import Collection

    from flask import Flask


def allow_origins(app: Flask, origins: Collection[str]) -> None:
    """Let pages of exactly these ``origins`` call ``app`` and read its answers; without any, nobody's."""
    if not origins:
        return
    CORS(
        app,
        # Flask-CORS takes a text with brackets, such as an IPv6 address, for an expression that has no end, and tells
        # every caller who sends no Origin which texts are listed.
        origins=[re.compile(re.escape(origin) + r"\Z") for origin in origins],
        supports_credentials=True,
        allow_headers=["Content-Type", "X-CSRF-Token", "X-Request-ID"],
        expose_headers=["X-Request-ID", "RateLimit", "RateLimit-Policy", "Retry-After"],
        max_age=600,
        vary_header=True,
    )
