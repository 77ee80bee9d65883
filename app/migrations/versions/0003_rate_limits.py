"""Limits that an administrator changed.

Revision: 0003
After: 0002
"""

import sqlalchemy as sa
from alembic import op

from app.database import types

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "rate_limits",
        sa.Column("name", types.ExactString(64), nullable=False),
        sa.Column("limits", sa.String(200), nullable=False),
        sa.Column("updated_at", types.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_rate_limits"),
    )
    op.create_table(
        "role_rate_limits",
        sa.Column("name", types.ExactString(64), nullable=False),
        sa.Column("role_id", sa.Uuid(), nullable=False),
        sa.Column("limits", sa.String(200), nullable=False),
        sa.Column("updated_at", types.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["role_id"], ["roles.id"], name="fk_role_rate_limits_role_id_roles", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("name", "role_id", name="pk_role_rate_limits"),
    )
    op.create_index("ix_role_rate_limits_role_id", "role_rate_limits", ["role_id"])


def downgrade() -> None:
    op.drop_table("role_rate_limits")
    op.drop_table("rate_limits")
