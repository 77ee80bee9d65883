"""The OpenAPI document, a page to read it and try calls, and the start page, which links to both."""

from pathlib import Path
from typing import Final

from flask import Response, current_app

from app.extensions import get_settings
from app.http.openapi import Api, Blueprint
from app.http.requests import PAGE_CONTENT_SECURITY_POLICY
from app.security import public

_STATIC: Final = Path(__file__).parents[1] / "static"
_DOCS: Final = (_STATIC / "docs" / "index.html").read_text()
_START: Final = (_STATIC / "start.html").read_text()

blueprint = Blueprint("docs", __name__, description="The API's description")


@blueprint.route("/openapi.json")
@blueprint.response(200, {"type": "object"}, description="This document")
@public
def get_openapi() -> Response:
    """Get this document."""
    api: Api = current_app.extensions["api"]
    return Response(api.describe(base_url=get_settings().public_url), mimetype="application/json")


@blueprint.route("/docs")
@blueprint.response(200, {"type": "string"}, content_type="text/html", description="A page")
@public
def get_docs() -> Response:
    """Show this document as a page."""
    return _make_page(_DOCS)


@blueprint.route("/")
@blueprint.response(200, {"type": "string"}, content_type="text/html", description="A page")
@public
def get_start() -> Response:
    """Show a page that links to the documentation."""
    return _make_page(_START)


def _make_page(text: str) -> Response:
    response = Response(text, mimetype="text/html")
    response.headers["Content-Security-Policy"] = PAGE_CONTENT_SECURITY_POLICY
    return response
