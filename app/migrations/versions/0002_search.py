"""Search for users by the beginnings of words.

Revision: 0002
After: 0001
"""

import sqlalchemy as sa
from alembic import op

from app.database.schema import waiting_for_others
from app.search import SearchIndex, SearchText

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SEARCH = SearchIndex("users")


def upgrade() -> None:
    # What follows commits as it goes, so that the column may be there from a run that did not get to the end.
    if "search_text" not in {column["name"] for column in sa.inspect(op.get_bind()).get_columns("users")}:
        op.add_column("users", sa.Column("search_text", SearchText(), nullable=False, server_default=""))
    SEARCH.fill(op, "name", "email")  # type: ignore[arg-type] # a module that stands in for Operations
    with waiting_for_others(op):  # type: ignore[arg-type] # likewise
        SEARCH.create(op)  # type: ignore[arg-type] # likewise


def downgrade() -> None:
    with waiting_for_others(op):  # type: ignore[arg-type] # a module that stands in for Operations
        SEARCH.drop(op)  # type: ignore[arg-type] # likewise
    with op.batch_alter_table("users") as users:
        users.drop_column("search_text")
