"""How much memory each worker holds."""

import sqlalchemy as sa
from alembic import op

revision: str = "0002_worker_memory"
down_revision: str | None = "0001"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Add the column; a worker of the version before leaves it empty."""
    op.add_column("workers", sa.Column("memory_bytes", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("workers", "memory_bytes")
