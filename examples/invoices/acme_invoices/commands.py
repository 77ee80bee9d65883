"""The operator's commands."""

import click
import sqlalchemy as sa

from gatehouse import OperatorGroup, Report, User, db, get_settings, make_table, now

from .invoices.models import Invoice, Status
from .settings import InvoiceSettings

invoices_group = OperatorGroup("invoices", help="Look after invoices.")


@invoices_group.command("overdue")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most this many.")
def list_overdue(limit: int) -> Report:
    """List invoices that were sent, are due and are not paid, the oldest first."""
    query = sa.select(Invoice.number, User.email, Invoice.due_on, Invoice.total).join(User)
    query = query.where(Invoice.status == Status.SENT, ~Invoice.is_paid, Invoice.due_on < now().date())
    with db.reading() as reading:
        rows = reading.execute(query.order_by(Invoice.due_on, Invoice.id).limit(limit)).all()
    currency = get_settings(InvoiceSettings).currency
    data = [dict(zip(("number", "customer", "due_on", "total"), map(str, row), strict=True)) for row in rows]
    table = make_table(("NUMBER", "CUSTOMER", "DUE", f"TOTAL ({currency})"), [list(row.values()) for row in data])
    return Report({"items": data, "currency": currency}, table)
