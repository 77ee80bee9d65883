"""The JSON of invoices."""

from marshmallow import fields, validate

from gatehouse import Amount, Changes, Choice, Date, Flag, Input, Instant, Output, PageQuery, QueryFlag, Text

from .models import Status
from .services import SORTS


class InvoiceCreateInput(Input):
    """A new invoice."""

    number = Text(min_length=1, max_length=200, required=True)
    customer_id = fields.UUID(required=True)
    status = Choice(Status, load_default=Status.DRAFT)
    total = Amount(required=True)
    is_paid = Flag(load_default=False)
    due_on = Date(required=True)


class InvoiceUpdateInput(Changes, InvoiceCreateInput):
    """Changes to an invoice."""


class InvoiceFilter(Input):
    """Which invoices, and in which order."""

    q = Text(max_length=200, metadata={"description": "Beginnings of words of the number."})
    customer_id = fields.UUID()
    status = Choice(Status)
    is_paid = QueryFlag()
    sort = fields.String(validate=validate.OneOf(sorted(SORTS)), load_default="-created_at")


class InvoiceQuery(InvoiceFilter, PageQuery):
    """Which page of the invoices."""


class InvoiceOutput(Output):
    """An invoice."""

    id = fields.UUID(required=True)
    number = fields.String(required=True)
    customer_id = fields.UUID(required=True)
    status = Choice(Status, required=True)
    total = Amount(required=True)
    is_paid = fields.Boolean(required=True)
    due_on = Date(required=True)
    created_at = Instant(required=True)
    updated_at = Instant(required=True)


class InvoicePageOutput(Output):
    """A page of invoices."""

    items = fields.List(fields.Nested(InvoiceOutput), required=True)
    next_cursor = fields.String(required=True, allow_none=True)
