"""The records: SQLAlchemy models of every table, and the enums whose values are promised to callers.

Longer than other files, because one history of migrations is compared with it: every table is found here.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Enum,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Status(StrEnum):
    """Where a deletion stands."""

    QUEUED = "queued"  # accepted, waits for a worker
    RUNNING = "running"  # a worker holds its lease
    COMPLETED = "completed"  # finished, with an outcome
    NEEDS_REVIEW = "needs_review"  # an adapter exists, unpublished until an operator decides
    FAILED = "failed"  # ended with an error code; may be retried
    CANCELED = "canceled"  # ended on request; may be retried


class Outcome(StrEnum):
    """What a completed deletion came to."""

    FORGOTTEN = "forgotten"  # an adapter is published
    NOT_KNOWN = "not_known"  # the model did not know the fact: no adapter


class Stage(StrEnum):
    """What a running deletion is doing, in this order."""

    VIEWS = "views"  # phrasings of the fact, for training and for judging
    NEIGHBOURS = "neighbours"  # facts nearby that must stay
    UNLEARNING = "unlearning"  # gradients, decoding, precondition and step search, in rounds
    COMPRESSION = "compression"  # one low-rank adapter out of all rounds
    EVALUATION = "evaluation"  # the adapted model against the base model
    PUBLISHING = "publishing"  # adapter and report into the store


class LegalBasis(StrEnum):
    """Why the data must go."""

    GDPR_17_1_A = "gdpr_17_1_a"  # no longer necessary
    GDPR_17_1_B = "gdpr_17_1_b"  # consent withdrawn
    GDPR_17_1_C = "gdpr_17_1_c"  # objection
    GDPR_17_1_D = "gdpr_17_1_d"  # unlawfully processed
    GDPR_17_1_E = "gdpr_17_1_e"  # legal obligation to erase
    GDPR_17_1_F = "gdpr_17_1_f"  # collected from a child
    CCPA_1798_105 = "ccpa_1798_105"  # California: right to delete
    CONTRACT = "contract"  # promised to a customer
    OTHER = "other"  # anything else, and trials


class WorkerState(StrEnum):
    """What a worker process is doing."""

    LOADING = "loading"  # preloading model, decoder and curvature
    READY = "ready"  # idle, answers the doorbell
    BUSY = "busy"  # runs a deletion
    STOPPED = "stopped"  # shut down, or silent for too long


class ArtefactKind(StrEnum):
    """What an artefact is."""

    ADAPTER = "adapter"  # the whole PEFT folder as one zip
    ADAPTER_FILE = "adapter_file"  # one file of the PEFT folder


@dataclass(frozen=True)
class ServedModel:
    """A registered base model, free of the session it was read in."""

    id: str
    source: str
    revision: str | None
    decoder: str
    sketch_rank: int
    context_length: int
    created_at: datetime


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC; SQLite keeps no zone, so it is taken off on the way in and put back on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive times and store UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive datetime must not be stored")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _enum(values: type[StrEnum]) -> Enum:
    """A string column of the enum's values: adding a value later needs no migration."""
    return Enum(values, native_enum=False, length=32, values_callable=lambda e: [member.value for member in e])


_Json = JSON().with_variant(JSONB(), "postgresql")
_BigId = BigInteger().with_variant(Integer(), "sqlite")  # SQLite numbers only INTEGER keys by itself


class Base(DeclarativeBase):
    """The base of every record; constraints have fixed names so that migrations can find them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Model(Base):
    """A base model that deletions may name."""

    __tablename__ = "models"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    source: Mapped[str] = mapped_column(String(1024))
    revision: Mapped[str | None] = mapped_column(String(128))
    decoder: Mapped[str] = mapped_column(String(1024))
    sketch_rank: Mapped[int]
    context_length: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime())

    def frozen(self) -> ServedModel:
        """The row as a record that outlives its session."""
        return ServedModel(
            self.id, self.source, self.revision, self.decoder, self.sketch_rank, self.context_length, self.created_at
        )


class Deletion(Base):
    """One request to forget, and the queue's entry for it."""

    __tablename__ = "deletions"
    __table_args__ = (
        Index("ix_deletions_tenant_id", "tenant", "id"),
        Index("ix_deletions_queue", "model", "status", "id"),
        Index("ix_deletions_status_lease", "status", "lease_expires_at"),
        Index("ix_deletions_tenant_status_id", "tenant", "status", "id"),
        Index("ix_deletions_tenant_model_id", "tenant", "model", "id"),
        Index("ix_deletions_tenant_model_status_id", "tenant", "model", "status", "id"),
        Index("ix_deletions_tenant_reference_hash_id", "tenant", "reference_hash", "id"),
        Index("ix_deletions_tenant_subject_hash_id", "tenant", "subject_hash", "id"),
        Index("ix_deletions_due", "status", "due_at", "purged_at", "tenant", "model", "id"),
        Index("ix_deletions_finished", "status", "purged_at", "finished_at"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64))
    model: Mapped[str] = mapped_column(ForeignKey("models.id"))
    status: Mapped[Status] = mapped_column(_enum(Status))
    outcome: Mapped[Outcome | None] = mapped_column(_enum(Outcome))
    stage: Mapped[Stage | None] = mapped_column(_enum(Stage))
    progress: Mapped[float]
    attempt: Mapped[int]
    cancel_requested: Mapped[bool]
    approved: Mapped[bool]
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_message: Mapped[str | None] = mapped_column(String(500))

    lease_owner: Mapped[str | None] = mapped_column(String(64))
    lease_token: Mapped[int] = mapped_column(BigInteger)
    lease_expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    not_before: Mapped[datetime | None] = mapped_column(UtcDateTime())
    queued_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    trace_parent: Mapped[str | None] = mapped_column(String(55))

    created_at: Mapped[datetime] = mapped_column(UtcDateTime())
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime())
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    due_at: Mapped[datetime] = mapped_column(UtcDateTime())

    legal_basis: Mapped[LegalBasis] = mapped_column(_enum(LegalBasis))
    target_count: Mapped[int]
    reference_hash: Mapped[str | None] = mapped_column(String(64))
    subject_hash: Mapped[str | None] = mapped_column(String(64))
    wrapped_key: Mapped[bytes | None] = mapped_column(LargeBinary)
    key_epoch: Mapped[str | None] = mapped_column(String(16), index=True)
    sealed_payload: Mapped[bytes | None] = mapped_column(LargeBinary)
    sealed_reference: Mapped[bytes | None] = mapped_column(LargeBinary)
    sealed_evidence: Mapped[bytes | None] = mapped_column(LargeBinary)
    figures: Mapped[dict[str, Any] | None] = mapped_column(_Json)
    composition_version: Mapped[int | None]

    commitment: Mapped[str | None] = mapped_column(String(64))
    thresholds: Mapped[dict[str, Any] | None] = mapped_column(_Json)
    extension_months: Mapped[int | None]
    extension_reason: Mapped[str | None] = mapped_column(String(32))
    purged_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    adapter_expired_at: Mapped[datetime | None] = mapped_column(UtcDateTime())


class IdempotencyKey(Base):
    """The deletion that an Idempotency-Key stands for; key and body are kept as keyed hashes."""

    __tablename__ = "idempotency_keys"

    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    key_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    deletion_id: Mapped[str] = mapped_column(ForeignKey("deletions.id"))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime(), index=True)


class Artefact(Base):
    """One file in the artefact store."""

    __tablename__ = "artefacts"
    __table_args__ = (UniqueConstraint("deletion_id", "kind", "name"),)

    id: Mapped[int] = mapped_column(_BigId, primary_key=True)
    deletion_id: Mapped[str] = mapped_column(ForeignKey("deletions.id"))
    kind: Mapped[ArtefactKind] = mapped_column(_enum(ArtefactKind))
    name: Mapped[str] = mapped_column(String(128))
    sha256: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(BigInteger)
    path: Mapped[str] = mapped_column(String(512))
    lease_token: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime())


class AuditEvent(Base):
    """Something that happened, in ids and codes only. The ids have no gaps, and the hashes chain the rows."""

    __tablename__ = "audit_events"
    __table_args__ = (
        Index("ix_audit_events_deletion_id", "deletion_id"),
        Index("ix_audit_events_tenant_id", "tenant", "id"),
    )

    id: Mapped[int] = mapped_column(_BigId, primary_key=True, autoincrement=False)
    tenant: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime] = mapped_column(UtcDateTime())
    actor: Mapped[str] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(64))
    deletion_id: Mapped[str | None] = mapped_column(String(36))
    details: Mapped[dict[str, str | int]] = mapped_column(_Json)
    previous_hash: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))


class AuditHead(Base):
    """The one row that says where the audit log ends; writers of events queue for it."""

    __tablename__ = "audit_head"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    sequence: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[str] = mapped_column(String(64))
    mac: Mapped[str] = mapped_column(String(64))


class KeyEpoch(Base):
    """A master key's time in office; the key itself is never in the database."""

    __tablename__ = "key_epochs"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime())
    retired_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    destroyed_at: Mapped[datetime | None] = mapped_column(UtcDateTime())


class Secret(Base):
    """A secret of the service itself, wrapped by the master key of an epoch."""

    __tablename__ = "secrets"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    epoch: Mapped[str] = mapped_column(String(16))
    wrapped: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime())


class ApiKey(Base):
    """A key that callers show; its secret is kept as a keyed hash. A revoked key keeps its row."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(64))
    scopes: Mapped[list[str]] = mapped_column(_Json)
    secret_hash: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime())
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    last_used_at: Mapped[datetime | None] = mapped_column(UtcDateTime())


class BrowserSession(Base):
    """A browser that has logged in with a key; its id is a keyed hash of its cookie."""

    __tablename__ = "sessions"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id"))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime())
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime(), index=True)


class SigningKey(Base):
    """The public half of a key that signs certificates; the private one is a secret of the vault while it is used."""

    __tablename__ = "signing_keys"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    jwk: Mapped[dict[str, str]] = mapped_column(_Json)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime())
    retired_at: Mapped[datetime | None] = mapped_column(UtcDateTime())


class Certificate(Base):
    """The certificate of a completed deletion, byte for byte as it is sent."""

    __tablename__ = "certificates"

    deletion_id: Mapped[str] = mapped_column(ForeignKey("deletions.id"), primary_key=True)
    key_id: Mapped[str] = mapped_column(ForeignKey("signing_keys.id"))
    issued_at: Mapped[datetime] = mapped_column(UtcDateTime())
    body: Mapped[bytes] = mapped_column(LargeBinary)


class WorkerProcess(Base):
    """A worker process, as it last reported."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    model: Mapped[str] = mapped_column(String(64))
    host: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int]
    device: Mapped[str] = mapped_column(String(64))
    state: Mapped[WorkerState] = mapped_column(_enum(WorkerState))
    loaded: Mapped[dict[str, bool]] = mapped_column(_Json)
    detail: Mapped[str | None] = mapped_column(String(200))
    memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    started_at: Mapped[datetime] = mapped_column(UtcDateTime())
    heartbeat_at: Mapped[datetime] = mapped_column(UtcDateTime())


class Webhook(Base):
    """An endpoint that is told when deletions settle; its key, one of the service's secrets, seals the rest."""

    __tablename__ = "webhooks"
    __table_args__ = (UniqueConstraint("tenant", "url_hash"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64))
    url_hash: Mapped[str] = mapped_column(String(64))
    key_name: Mapped[str] = mapped_column(ForeignKey("secrets.name"))
    sealed_url: Mapped[bytes] = mapped_column(LargeBinary)
    sealed_secret: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime())
    sealed_retiring: Mapped[bytes | None] = mapped_column(LargeBinary)
    retiring_until: Mapped[datetime | None] = mapped_column(UtcDateTime())
    disabled_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    disabled_why: Mapped[str | None] = mapped_column(String(32))


class Callback(Base):
    """Which endpoint is told of a deletion, and of which of its states it was told last."""

    __tablename__ = "callbacks"

    deletion_id: Mapped[str] = mapped_column(ForeignKey("deletions.id"), primary_key=True)
    webhook_id: Mapped[str] = mapped_column(ForeignKey("webhooks.id"))
    told_at: Mapped[datetime | None] = mapped_column(UtcDateTime())


class WebhookDelivery(Base):
    """One thing that an endpoint is told, and how that went. `next_at` is empty once it was told or given up."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (Index("ix_webhook_deliveries_webhook_id_id", "webhook_id", "id"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    webhook_id: Mapped[str] = mapped_column(ForeignKey("webhooks.id"))
    deletion_id: Mapped[str] = mapped_column(ForeignKey("deletions.id"))
    told_status: Mapped[Status] = mapped_column(_enum(Status))
    happened_at: Mapped[datetime] = mapped_column(UtcDateTime())
    tries: Mapped[int]
    next_at: Mapped[datetime | None] = mapped_column(UtcDateTime(), index=True)
    last_status: Mapped[int | None]
    last_error: Mapped[str | None] = mapped_column(String(32))
    tried_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    delivered_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    created_at: Mapped[datetime] = mapped_column(UtcDateTime())


class Duty(Base):
    """A chore that one process at a time may do, such as sweeping."""

    __tablename__ = "duties"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    owner: Mapped[str] = mapped_column(String(64))
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime())
