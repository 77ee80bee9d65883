"""Mails, what they prove, invitations and guesses in a row; language, required change and deletion of a user.

Revision: 0004
After: 0003
"""

import sqlalchemy as sa
from alembic import op

from app.database import types

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("language", sa.String(16), nullable=True))
    op.add_column(
        "users", sa.Column("is_password_change_required", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    op.add_column("users", sa.Column("deletion_due_at", types.UtcDateTime(), nullable=True))
    op.create_index("ix_users_deletion_due_at", "users", ["deletion_due_at"])
    op.create_table(
        "outbox",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("template", sa.String(64), nullable=False),
        sa.Column("recipient", types.ExactString(254), nullable=False),
        sa.Column("language", sa.String(16), nullable=True),
        sa.Column("sealed_context", sa.String(4096), nullable=False),
        sa.Column("is_prepared", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("due_at", types.UtcDateTime(), nullable=False),
        sa.Column("lease", sa.String(32), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("last_error", types.ExactString(500), nullable=True),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.Column("give_up_at", types.UtcDateTime(), nullable=False),
        sa.Column("finished_at", types.UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
    )
    op.create_index("ix_outbox_created_at", "outbox", ["created_at"])
    op.create_index("ix_outbox_state_outbox_due_at_outbox_id", "outbox", ["state", "due_at", "id"])
    op.create_index("ix_outbox_recipient_outbox_created_at", "outbox", ["recipient", "created_at"])
    op.create_table(
        "mail_tokens",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("purpose", sa.String(32), nullable=False),
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("code_hash", sa.String(64), nullable=True),
        sa.Column("tries_left", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("email", types.ExactString(254), nullable=False),
        sa.Column("browser_hash", sa.String(64), nullable=True),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.Column("expires_at", types.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_mail_tokens_user_id_users", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_mail_tokens"),
        sa.UniqueConstraint("token_hash", name="uq_mail_tokens_token_hash"),
    )
    op.create_index("ix_mail_tokens_user_id_mail_tokens_purpose", "mail_tokens", ["user_id", "purpose"])
    op.create_index("ix_mail_tokens_email_mail_tokens_purpose", "mail_tokens", ["email", "purpose"])
    op.create_index("ix_mail_tokens_expires_at", "mail_tokens", ["expires_at"])
    op.create_table(
        "registrations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("email", types.ExactString(254), nullable=False),
        sa.Column("name", types.ExactString(200), nullable=False),
        sa.Column("language", sa.String(16), nullable=True),
        sa.Column("password_hash", sa.String(255), nullable=True),
        sa.Column("browser_hash", sa.String(64), nullable=True),
        sa.Column("is_disputed", sa.Boolean(), nullable=False),
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.Column("expires_at", types.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_registrations"),
        sa.UniqueConstraint("email", name="uq_registrations_email"),
        sa.UniqueConstraint("token_hash", name="uq_registrations_token_hash"),
    )
    op.create_index("ix_registrations_expires_at", "registrations", ["expires_at"])
    op.create_table(
        "invitations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("email", types.ExactString(254), nullable=False),
        sa.Column("roles", sa.JSON(), nullable=False),
        sa.Column("language", sa.String(16), nullable=True),
        sa.Column("token_hash", sa.String(64), nullable=True),
        sa.Column("inviter_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.Column("expires_at", types.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["inviter_id"], ["users.id"], name="fk_invitations_inviter_id_users", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_invitations"),
        sa.UniqueConstraint("email", name="uq_invitations_email"),
        sa.UniqueConstraint("token_hash", name="uq_invitations_token_hash"),
    )
    op.create_index("ix_invitations_created_at_invitations_id", "invitations", ["created_at", "id"])
    op.create_index("ix_invitations_inviter_id", "invitations", ["inviter_id"])
    op.create_index("ix_invitations_expires_at", "invitations", ["expires_at"])
    op.create_table(
        "guess_counts",
        sa.Column("account_hash", sa.String(64), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("failed_at", types.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("account_hash", name="pk_guess_counts"),
    )
    op.create_index("ix_guess_counts_failed_at", "guess_counts", ["failed_at"])


def downgrade() -> None:
    for table in ("guess_counts", "invitations", "registrations", "mail_tokens", "outbox"):
        op.drop_table(table)
    op.drop_index("ix_users_deletion_due_at", "users")
    # Not in a batch: SQLite would make the table anew, without the triggers of its search.
    for column in ("deletion_due_at", "is_password_change_required", "language"):
        op.drop_column("users", column)
