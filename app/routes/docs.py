"""The OpenAPI document, and a page to read and try it."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Final

from flask import Response, current_app

from app.config import ROOT
from app.extensions import talisman
from app.http.openapi import Api, Blueprint
from app.http.requests import PAGE_CONTENT_SECURITY_POLICY
from app.security import public

_PAGE: Final = (ROOT / "app" / "static" / "docs" / "index.html").read_text()

blueprint = Blueprint("docs", __name__, description="The API's description")


@blueprint.route("/openapi.json")
@blueprint.response(200, {"type": "object"}, description="This document")
@public
def get_openapi() -> Response:
    """Get this document."""
    return Response(_render(current_app.extensions["api"]), mimetype="application/json")


@blueprint.route("/docs")
@blueprint.response(200, {"type": "string"}, content_type="text/html", description="A page")
@talisman(  # type: ignore[untyped-decorator] # Flask-Talisman ships no types
    content_security_policy=PAGE_CONTENT_SECURITY_POLICY
)
@public
def get_docs() -> Response:
    """Show this document as a page."""
    return Response(_PAGE, mimetype="text/html")


@lru_cache(maxsize=8)
def _render(api: Api) -> str:
    """Return the document of ``api``, which no longer changes once it is served."""
    return json.dumps(api.spec.to_dict())
