"""Who pinned what."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "acme_notes_pins",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("note_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(
            ["note_id"], ["acme_notes.id"], name=op.f("fk_acme_notes_pins_note_id_acme_notes"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_acme_notes_pins_user_id_users"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_acme_notes_pins")),
    )
    with op.batch_alter_table("acme_notes_pins", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_acme_notes_pins_note_id"), ["note_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_acme_notes_pins_user_id"), ["user_id"], unique=False)


def downgrade() -> None:
    op.drop_table("acme_notes_pins")
