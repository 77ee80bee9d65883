"""The OpenAPI document, and a page to read and try it."""

from __future__ import annotations

from typing import Any

from flask import Response, current_app, jsonify, send_from_directory

from app.config import ROOT
from app.extensions import talisman
from app.http.openapi import Blueprint
from app.http.requests import PAGE_CONTENT_SECURITY_POLICY
from app.security import public

blueprint = Blueprint("docs", __name__, description="The API's description")


@blueprint.route("/openapi.json")
@blueprint.response(200, {"type": "object"}, description="This document")
@public
def get_openapi() -> Response:
    """Get this document."""
    document: dict[str, Any] = current_app.extensions["api"].spec.to_dict()
    return jsonify(document)


@blueprint.route("/docs")
@blueprint.response(200, {"type": "string"}, content_type="text/html", description="A page")
@talisman(  # type: ignore[untyped-decorator] # Flask-Talisman ships no types
    content_security_policy=PAGE_CONTENT_SECURITY_POLICY
)
@public
def get_docs() -> Response:
    """Show this document as a page."""
    return send_from_directory(ROOT / "app" / "static" / "docs", "index.html")
