"""The routes of invoices."""

import uuid
from typing import Any

from flask import Response

from gatehouse import Blueprint, InvalidCursor, answer_csv, get_actor, rate_limit, requires, user

from . import schemas, services
from .models import Invoice

blueprint = Blueprint("acme_invoices", __name__, tag="invoices", url_prefix="/api/v1/invoices", description="Invoices")


@blueprint.route("")
@blueprint.resource("invoices", title="number", columns=("number", "status", "total", "is_paid", "due_on"))
@blueprint.response(200, schemas.InvoicePageOutput)
@blueprint.arguments(schemas.InvoiceQuery, location="query")
@blueprint.raises(InvalidCursor)
@requires("invoices:read", or_own=Invoice)
def list_invoices(query: dict[str, Any], *, owner: uuid.UUID | None) -> Any:
    """List invoices, filtered and sorted, page by page."""
    return services.list_invoices(**query, owner=owner)


@blueprint.route("", methods=["POST"])
@blueprint.response(201, schemas.InvoiceOutput)
@blueprint.arguments(schemas.InvoiceCreateInput)
@blueprint.raises(services.NumberTaken)
@requires("invoices:write")
def create_invoice(body: dict[str, Any]) -> Any:
    """Create an invoice."""
    return services.create_invoice(**body, actor=get_actor())


@blueprint.route("/<uuid:invoice_id>")
@blueprint.response(200, schemas.InvoiceOutput)
@blueprint.raises(services.InvoiceNotFound)
@requires("invoices:read", or_own=Invoice)
def get_invoice(invoice_id: uuid.UUID, *, owner: uuid.UUID | None) -> Any:
    """Get an invoice."""
    return services.get_invoice(invoice_id, owner=owner)


@blueprint.route("/<uuid:invoice_id>", methods=["PATCH"])
@blueprint.response(200, schemas.InvoiceOutput)
@blueprint.arguments(schemas.InvoiceUpdateInput)
@blueprint.raises(services.InvoiceNotFound, services.NumberTaken)
@requires("invoices:write")
def update_invoice(body: dict[str, Any], invoice_id: uuid.UUID) -> Any:
    """Change an invoice."""
    return services.update_invoice(invoice_id, changes=body, actor=get_actor())


@blueprint.route("/<uuid:invoice_id>", methods=["DELETE"])
@blueprint.response(204)
@blueprint.raises(services.InvoiceNotFound)
@requires("invoices:write")
def delete_invoice(invoice_id: uuid.UUID) -> Response:
    """Delete an invoice."""
    services.delete_invoice(invoice_id, actor=get_actor())
    return Response(status=204)


@blueprint.route("/export.csv")
@blueprint.csv(schemas.InvoiceOutput)
@blueprint.arguments(schemas.InvoiceFilter, location="query")
@requires("invoices:read", or_own=Invoice)
@rate_limit("RATELIMIT_ACME_INVOICES_EXPORT", by=user)
def export_invoices(query: dict[str, Any], *, owner: uuid.UUID | None) -> Response:
    """Download invoices as CSV, filtered and sorted as in the list."""
    return answer_csv("invoices", schemas.InvoiceOutput, services.walk_invoices(**query, owner=owner))
