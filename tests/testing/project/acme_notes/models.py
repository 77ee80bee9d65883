"""The tables."""

import datetime
import decimal
import uuid

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from gatehouse import Base, ExactString, now, uuid7

TEXT_MAX_LENGTH = 100


class Note(Base):
    """A line of text."""

    __tablename__ = "acme_notes"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    owner_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"), index=True)
    text: Mapped[str] = mapped_column(ExactString(TEXT_MAX_LENGTH))
    price: Mapped[decimal.Decimal] = mapped_column(sa.Numeric(12, 2))
    created_at: Mapped[datetime.datetime] = mapped_column(default=now)


class Pin(Base):
    """That somebody pinned a note."""

    __tablename__ = "acme_notes_pins"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    note_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("acme_notes.id", ondelete="CASCADE"), index=True)
    user_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("users.id", ondelete="SET NULL"), index=True)
