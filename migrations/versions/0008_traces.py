"""Since when a deletion waits, and the trace that it belongs to."""

import sqlalchemy as sa
from alembic import op

revision: str = "0008_traces"
down_revision: str | None = "0007_personal_data"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Add the columns."""
    with op.batch_alter_table("deletions") as table:
        table.add_column(sa.Column("queued_at", sa.DateTime(timezone=True), nullable=True))
        table.add_column(sa.Column("trace_parent", sa.String(length=55), nullable=True))


def downgrade() -> None:
    """Undo it."""
    with op.batch_alter_table("deletions") as table:
        table.drop_column("trace_parent")
        table.drop_column("queued_at")
