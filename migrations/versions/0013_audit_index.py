"""An index for the pages of one tenant's audit events: without it, all tenants' are walked for them."""

from alembic import op

revision: str = "0013_audit_index"
down_revision: str | None = "0012_subject_index"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Add it."""
    op.create_index("ix_audit_events_tenant_id", "audit_events", ["tenant", "id"])


def downgrade() -> None:
    """Take it away."""
    op.drop_index("ix_audit_events_tenant_id", "audit_events")
