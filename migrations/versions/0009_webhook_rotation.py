"""The signing secret that a webhook's new one takes over from."""

import sqlalchemy as sa
from alembic import op

revision: str = "0009_webhook_rotation"
down_revision: str | None = "0008_traces"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Add the columns."""
    with op.batch_alter_table("webhooks") as table:
        table.add_column(sa.Column("sealed_retiring", sa.LargeBinary(), nullable=True))
        table.add_column(sa.Column("retiring_until", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    """Undo it."""
    with op.batch_alter_table("webhooks") as table:
        table.drop_column("retiring_until")
        table.drop_column("sealed_retiring")
