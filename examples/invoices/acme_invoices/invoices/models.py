"""What is stored of an invoice."""

import datetime
import decimal
import enum
import uuid
from typing import ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from gatehouse import EnumString, ExactDecimal, ExactString, Model, Searched


class Status(enum.StrEnum):
    """What status may be."""

    DRAFT = "draft"
    SENT = "sent"
    VOID = "void"


class Invoice(Searched, Model):
    """An invoice."""

    __tablename__ = "acme_invoices"
    __searched__: ClassVar = ("number",)

    number: Mapped[str] = mapped_column(ExactString(200), unique=True)
    customer_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("users.id"), index=True)
    status: Mapped[Status] = mapped_column(EnumString(Status))
    total: Mapped[decimal.Decimal] = mapped_column(ExactDecimal(12, 2))
    is_paid: Mapped[bool]
    due_on: Mapped[datetime.date]
