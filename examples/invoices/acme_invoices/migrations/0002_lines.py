"""The lines of invoices.

Revision: 0002
After: 0001
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "acme_invoices_lines",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("invoice_id", sa.Uuid(), nullable=False),
        sa.Column(
            "text",
            sa.String(length=200)
            .with_variant(sa.String(length=200, collation="C"), "postgresql")
            .with_variant(mysql.VARCHAR(charset="utf8mb4", collation="utf8mb4_bin", length=200), "mysql", "mariadb"),
            nullable=False,
        ),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column(
            "price",
            sa.BigInteger()
            .with_variant(sa.Numeric(precision=12, scale=2), "postgresql")
            .with_variant(mysql.NUMERIC(precision=12, scale=2), "mysql", "mariadb"),
            nullable=False,
        ),
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
        sa.ForeignKeyConstraint(
            ["invoice_id"],
            ["acme_invoices.id"],
            name="fk_acme_invoices_lines_invoice_id_acme_invoices",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_acme_invoices_lines"),
    )
    op.create_index("ix_acme_invoices_lines_invoice_id", "acme_invoices_lines", ["invoice_id"])


def downgrade() -> None:
    op.drop_table("acme_invoices_lines")
