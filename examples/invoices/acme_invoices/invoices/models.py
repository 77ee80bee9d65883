"""What is stored of an invoice."""

import datetime
import decimal
import enum
import uuid
from typing import ClassVar, Final

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from gatehouse import EnumString, ExactDecimal, ExactString, Model, Searched

NUMBER_MAX_LENGTH: Final = 40


class Status(enum.StrEnum):
    """How far an invoice has come."""

    DRAFT = "draft"
    SENT = "sent"
    VOID = "void"


class Invoice(Searched, Model):
    """An invoice to a customer."""

    __tablename__ = "acme_invoices"
    __searched__: ClassVar = ("number",)

    number: Mapped[str] = mapped_column(ExactString(NUMBER_MAX_LENGTH), unique=True)
    customer_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("users.id"), index=True)
    status: Mapped[Status] = mapped_column(EnumString(Status))
    total: Mapped[decimal.Decimal] = mapped_column(ExactDecimal(12, 2))
    is_paid: Mapped[bool]
    due_on: Mapped[datetime.date]
