"""Invoices.

Revision: 0001
After: none
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "acme_invoices",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "number",
            sa.String(length=200)
            .with_variant(sa.String(length=200, collation="C"), "postgresql")
            .with_variant(mysql.VARCHAR(charset="utf8mb4", collation="utf8mb4_bin", length=200), "mysql", "mariadb"),
            nullable=False,
        ),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column(
            "status",
            sa.String(length=32)
            .with_variant(sa.String(length=32, collation="C"), "postgresql")
            .with_variant(mysql.VARCHAR(charset="utf8mb4", collation="utf8mb4_bin", length=32), "mysql", "mariadb"),
            nullable=False,
        ),
        sa.Column(
            "total",
            sa.BigInteger()
            .with_variant(sa.Numeric(precision=12, scale=2), "postgresql")
            .with_variant(mysql.NUMERIC(precision=12, scale=2), "mysql", "mariadb"),
            nullable=False,
        ),
        sa.Column("is_paid", sa.Boolean(), nullable=False),
        sa.Column("due_on", sa.Date(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime()
            .with_variant(sa.DateTime(timezone=True), "postgresql")
            .with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.DateTime()
            .with_variant(sa.DateTime(timezone=True), "postgresql")
            .with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb"),
            nullable=False,
        ),
        sa.Column(
            "search_text",
            sa.String(length=2500)
            .with_variant(sa.String(length=2500, collation="C"), "postgresql")
            .with_variant(mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=2500), "mysql", "mariadb"),
            server_default="",
            nullable=False,
        ),
        sa.ForeignKeyConstraint(["customer_id"], ["users.id"], name="fk_acme_invoices_customer_id_users"),
        sa.PrimaryKeyConstraint("id", name="pk_acme_invoices"),
        sa.UniqueConstraint("number", name="uq_acme_invoices_number"),
    )
    op.create_index("ix_acme_invoices_customer_id", "acme_invoices", ["customer_id"])


def downgrade() -> None:
    op.drop_table("acme_invoices")
