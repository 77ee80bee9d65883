"""The lines of an invoice, read and replaced as a whole; their sum is its total."""

import decimal
import uuid
from typing import Any

import sqlalchemy as sa
from marshmallow import fields, validate
from sqlalchemy.orm import Mapped, mapped_column

from gatehouse import (
    Actor,
    Amount,
    Blueprint,
    ExactDecimal,
    ExactString,
    Input,
    Model,
    Text,
    WholeNumber,
    audit,
    db,
    get_actor,
    get_row,
    requires,
    retried,
    transaction,
)

from .invoices.models import Invoice
from .invoices.services import InvoiceNotFound, get_invoice

blueprint = Blueprint("acme_invoices_lines", __name__, tag="invoices", url_prefix="/api/v1/invoices")


class InvoiceLine(Model):
    """One line of an invoice."""

    __tablename__ = "acme_invoices_lines"

    invoice_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey(Invoice.id, ondelete="CASCADE"), index=True)
    text: Mapped[str] = mapped_column(ExactString(200))
    quantity: Mapped[int]
    price: Mapped[decimal.Decimal] = mapped_column(ExactDecimal(12, 2))


class Line(Input):
    """A line of an invoice; so many of them, at most, that the total has room for their sum."""

    text = Text(min_length=1, max_length=200, required=True)
    quantity = WholeNumber(at_least=1, at_most=999, required=True)
    price = Amount(at_least=-100_000, at_most=100_000, required=True)


class Lines(Input):
    """The lines of an invoice, in their order."""

    items = fields.List(fields.Nested(Line), required=True, validate=validate.Length(max=100))


@blueprint.route("/<uuid:invoice_id>/lines")
@blueprint.response(200, Lines)
@blueprint.raises(InvoiceNotFound)
@requires("invoices:read", or_own=Invoice)
def list_lines(invoice_id: uuid.UUID, *, owner: uuid.UUID | None) -> Any:
    """List the lines of an invoice."""
    return {"items": get_lines(invoice_id, owner=owner)}


@blueprint.route("/<uuid:invoice_id>/lines", methods=["PUT"])
@blueprint.response(200, Lines)
@blueprint.arguments(Lines)
@blueprint.raises(InvoiceNotFound)
@requires("invoices:write")
def replace_lines(body: dict[str, Any], invoice_id: uuid.UUID) -> Any:
    """Replace the lines of an invoice; its total becomes their sum."""
    return {"items": store_lines(invoice_id, body["items"], actor=get_actor())}


@retried
def get_lines(invoice_id: uuid.UUID, *, owner: uuid.UUID | None) -> list[InvoiceLine]:
    """Return the lines of an invoice, in their order; with ``owner`` only of one of theirs.

    Raises:
        InvoiceNotFound: there is no such invoice.
    """
    get_invoice(invoice_id, owner=owner)
    query = sa.select(InvoiceLine).where(InvoiceLine.invoice_id == invoice_id).order_by(InvoiceLine.id)
    return list(db.session.scalars(query))


@retried
def store_lines(invoice_id: uuid.UUID, lines: list[dict[str, Any]], *, actor: Actor) -> list[InvoiceLine]:
    """Replace the lines of an invoice, and its total by their sum.

    Raises:
        InvoiceNotFound: there is no such invoice.
    """
    with transaction() as writing:
        invoice = get_row(Invoice, invoice_id, owner=None, missing=InvoiceNotFound, is_locked=True)
        writing.execute(sa.delete(InvoiceLine).where(InvoiceLine.invoice_id == invoice_id))
        made = [InvoiceLine(invoice_id=invoice_id, **line) for line in lines]
        writing.add_all(made)
        invoice.total = sum((line.quantity * line.price for line in made), decimal.Decimal(0))
        audit.record("invoice.lines_replaced", actor=actor, target=invoice_id, lines=len(made))
    return made
