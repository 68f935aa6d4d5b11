"""Certificates, purging, extensions of due dates."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0007_personal_data"
down_revision: str | None = "0006_webhooks"
branch_labels: str | None = None
depends_on: str | None = None

_MOMENT = sa.DateTime(timezone=True)
_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_NEW = (
    ("commitment", sa.String(length=64)),
    ("thresholds", _JSON),
    ("extension_months", sa.Integer()),
    ("extension_reason", sa.String(length=32)),
    ("purged_at", _MOMENT),
    ("adapter_expired_at", _MOMENT),
)


def upgrade() -> None:
    """Add columns and tables."""
    with op.batch_alter_table("deletions") as table:
        for name, kind in _NEW:
            table.add_column(sa.Column(name, kind, nullable=True))
        table.create_index("ix_deletions_due", ["status", "due_at"])
        table.create_index("ix_deletions_finished", ["status", "purged_at", "finished_at"])
    op.create_table(
        "signing_keys",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("jwk", _JSON, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("retired_at", _MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signing_keys")),
    )
    op.create_table(
        "certificates",
        sa.Column("deletion_id", sa.String(length=36), nullable=False),
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.Column("issued_at", _MOMENT, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["deletion_id"], ["deletions.id"], name=op.f("fk_certificates_deletion_id")),
        sa.ForeignKeyConstraint(["key_id"], ["signing_keys.id"], name=op.f("fk_certificates_key_id")),
        sa.PrimaryKeyConstraint("deletion_id", name=op.f("pk_certificates")),
    )


def downgrade() -> None:
    """Undo it."""
    for table_name in ("certificates", "signing_keys"):
        op.drop_table(table_name)
    with op.batch_alter_table("deletions") as table:
        for index in ("ix_deletions_finished", "ix_deletions_due"):
            table.drop_index(index)
        for name, _kind in reversed(_NEW):
            table.drop_column(name)
