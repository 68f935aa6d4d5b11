"""An index that finds a data subject's deletions in the order of their pages; without it, the table is walked."""

from alembic import op

revision: str = "0012_subject_index"
down_revision: str | None = "0011_due_index"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Add the order."""
    op.create_index("ix_deletions_tenant_subject_hash_id", "deletions", ["tenant", "subject_hash", "id"])
    op.drop_index("ix_deletions_tenant_subject_hash", "deletions")


def downgrade() -> None:
    """Take it away again."""
    op.create_index("ix_deletions_tenant_subject_hash", "deletions", ["tenant", "subject_hash"])
    op.drop_index("ix_deletions_tenant_subject_hash_id", "deletions")
