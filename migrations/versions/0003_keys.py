"""The head of the audit log's chain, the epochs of master keys, and the service's own secrets."""

import sqlalchemy as sa
from alembic import op

revision: str = "0003_keys"
down_revision: str | None = "0002_worker_memory"
branch_labels: str | None = None
depends_on: str | None = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add the tables, and what names the key that wrapped a deletion's."""
    op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("mac", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_head")),
    )
    op.create_table(
        "key_epochs",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("retired_at", _MOMENT, nullable=True),
        sa.Column("destroyed_at", _MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_key_epochs")),
    )
    op.create_table(
        "secrets",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("epoch", sa.String(length=16), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_secrets")),
    )
    with op.batch_alter_table("deletions") as table:
        table.add_column(sa.Column("key_epoch", sa.String(length=16), nullable=True))
        table.create_index("ix_deletions_key_epoch", ["key_epoch"])


def downgrade() -> None:
    """Undo it."""
    with op.batch_alter_table("deletions") as table:
        table.drop_index("ix_deletions_key_epoch")
        table.drop_column("key_epoch")
    for table_name in ("secrets", "key_epochs", "audit_head"):
        op.drop_table(table_name)
