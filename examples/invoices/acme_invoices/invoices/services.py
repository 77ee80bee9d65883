"""What can be done with invoices. Each function is one transaction."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from gatehouse import (
    Actor,
    Conflict,
    Listing,
    NotFound,
    Page,
    Sort,
    User,
    audit,
    check_reference,
    filter_by,
    get_row,
    owned_by,
    refuse_duplicate,
    retried,
    transaction,
)

from .models import Invoice

SORTS: Final = Sort.make_all(Invoice.created_at, Invoice.due_on, Invoice.number, Invoice.total, key=Invoice.id)
_INVOICES: Final[Listing[Any]] = Listing(
    sa.select(*Invoice.__table__.columns),
    filters={"owner": owned_by(Invoice)} | filter_by(Invoice.customer_id, Invoice.status, Invoice.is_paid),
    searched=Invoice.search_text,
)


class InvoiceNotFound(NotFound):
    """There is no such invoice."""

    detail = "There is no invoice with this id."


class NumberTaken(Conflict):
    """There is an invoice with this number."""

    detail = "There is an invoice with this number. Choose another."


@retried
def list_invoices(*, sort: str, q: str | None = None, **values: Any) -> Page[Any]:
    """Return a page of the invoices that have ``values`` and are found by ``q``.

    Raises:
        InvalidCursor: the cursor is not one of this list in this order.
    """
    return _INVOICES.get_page(SORTS[sort], search=q, **values)


def walk_invoices(*, sort: str, q: str | None = None, **values: object) -> Iterator[Sequence[Any]]:
    """Yield all invoices that have ``values`` and are found by ``q``, page by page."""
    return _INVOICES.walk(SORTS[sort], search=q, **values)


@retried
def get_invoice(invoice_id: uuid.UUID, *, owner: uuid.UUID | None) -> Invoice:
    """Return an invoice; with ``owner`` only one of theirs.

    Raises:
        InvoiceNotFound: there is none.
    """
    return get_row(Invoice, invoice_id, owner=owner, missing=InvoiceNotFound)


@retried
def create_invoice(*, actor: Actor, **values: Any) -> Invoice:
    """Make an invoice.

    Raises:
        InvalidInput: there is no such customer.
        NumberTaken: another has this number.
    """
    with refuse_duplicate(Invoice.number, NumberTaken), transaction() as writing:
        check_reference(User, values["customer_id"], field="customer_id")
        invoice = Invoice(**values)
        writing.add(invoice)
        writing.flush()
        audit.record("invoice.created", actor=actor, target=invoice.id)
    return invoice


@retried
def update_invoice(invoice_id: uuid.UUID, *, changes: Mapping[str, Any], actor: Actor) -> Invoice:
    """Change an invoice.

    Raises:
        InvalidInput: there is no such customer.
        InvoiceNotFound: there is none.
        NumberTaken: another has this number.
    """
    with refuse_duplicate(Invoice.number, NumberTaken), transaction():
        invoice = get_row(Invoice, invoice_id, owner=None, missing=InvoiceNotFound, is_locked=True)
        if "customer_id" in changes:
            check_reference(User, changes["customer_id"], field="customer_id")
        for field, value in changes.items():
            setattr(invoice, field, value)
        audit.record("invoice.updated", actor=actor, target=invoice.id, fields=sorted(changes))
    return invoice


@retried
def delete_invoice(invoice_id: uuid.UUID, *, actor: Actor) -> None:
    """Delete an invoice.

    Raises:
        InvoiceNotFound: there is none.
    """
    with transaction() as writing:
        writing.delete(get_row(Invoice, invoice_id, owner=None, missing=InvoiceNotFound, is_locked=True))
        audit.record("invoice.deleted", actor=actor, target=invoice_id)
