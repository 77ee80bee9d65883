"""What the product asks: what is seen beside a user, what a user's export says, and whether all is well."""

import uuid
from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from gatehouse import db

from .invoices.models import Invoice, Status
from .invoices.schemas import InvoiceOutput


def describe_users(user_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, dict[str, int]]:
    """Return how many open invoices each of the users has."""
    open_invoices = sa.select(Invoice.customer_id, sa.func.count()).where(
        Invoice.customer_id.in_(user_ids), Invoice.status == Status.SENT, ~Invoice.is_paid
    )
    with db.reading() as reading:
        counts = {row[0]: row[1] for row in reading.execute(open_invoices.group_by(Invoice.customer_id))}
    return {user_id: {"open_invoices": counts.get(user_id, 0)} for user_id in user_ids}


def export_user(user_id: uuid.UUID) -> Any:
    """Return the user's invoices as the API does."""
    own = sa.select(Invoice).where(Invoice.customer_id == user_id).order_by(Invoice.id)
    with db.reading() as reading:
        return InvoiceOutput(many=True).dump(reading.scalars(own))


def check_health() -> None:
    """Say nothing while the invoices can be read; that they cannot is told by the error."""
    with db.reading() as reading:
        reading.execute(sa.select(Invoice.id).limit(1))
