"""An index that alone answers what is late and how much is owed: no row is looked up for it."""

from alembic import op

revision: str = "0011_due_index"
down_revision: str | None = "0010_sessions"
branch_labels: str | None = None
depends_on: str | None = None

_NAME = "ix_deletions_due"


def upgrade() -> None:
    """Make it wider."""
    op.drop_index(_NAME, "deletions")
    op.create_index(_NAME, "deletions", ["status", "due_at", "purged_at", "tenant", "model", "id"])


def downgrade() -> None:
    """Make it narrow again."""
    op.drop_index(_NAME, "deletions")
    op.create_index(_NAME, "deletions", ["status", "due_at"])
