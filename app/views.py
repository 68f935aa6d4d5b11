"""What the service answers with."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from app import clock
from app.access import Caller, Scope
from app.deadlines import ExtensionReason, is_overdue
from app.models import Deletion, LegalBasis, Outcome, ServedModel, Stage, Status, WorkerProcess, WorkerState
from app.waiting import Waiting, waiting_for


class View(BaseModel):
    """A frozen answer."""

    model_config = ConfigDict(frozen=True)


class Links(View):
    """Where to go from a deletion; absent when there is nothing there yet."""

    self: str
    report: str | None = Field(default=None, description="The evaluation.")
    adapter: str | None = Field(default=None, description="The published adapter, as a zip.")
    certificate: str | None = Field(default=None, description="The signed statement of a completed deletion.")

    @classmethod
    def of(cls, row: Deletion) -> "Links":
        """What there is by now."""
        base = f"/deletions/{row.id}"
        published = row.status is Status.COMPLETED and row.outcome is Outcome.FORGOTTEN
        return cls(
            self=base,
            report=f"{base}/report" if row.figures is not None else None,
            adapter=f"{base}/adapter" if published and row.adapter_expired_at is None else None,
            certificate=f"{base}/certificate" if row.status is Status.COMPLETED else None,
        )


class Receipt(View):
    """A deletion was accepted; a repeated Idempotency-Key answers with the same receipt."""

    id: str
    status: Status = Field(description="Always `queued`: where the deletion stood when it was accepted.")
    model: str
    created_at: datetime
    due_at: datetime = Field(description="One calendar month after receipt (GDPR article 12(3)).")
    links: Links

    @classmethod
    def of(cls, row: Deletion) -> "Receipt":
        """Made of what never changes, so that it is the same however often it is asked for."""
        links = Links(self=f"/deletions/{row.id}")
        return cls(
            id=row.id,
            status=Status.QUEUED,
            model=row.model,
            created_at=row.created_at,
            due_at=clock.months_after(row.created_at),
            links=links,
        )


class Failure(View):
    """Why a deletion failed, or waits for the store; holds no personal data."""

    code: str
    message: str


class Extension(View):
    """A due date that was moved."""

    months: int
    reason: ExtensionReason

    @classmethod
    def of(cls, row: Deletion) -> "Extension | None":
        """None when it was not."""
        if row.extension_months is None or row.extension_reason is None:
            return None
        return cls(months=row.extension_months, reason=ExtensionReason(row.extension_reason))


class DeletionView(View):
    """A deletion as it stands."""

    id: str
    model: str
    status: Status
    outcome: Outcome | None = Field(description="What a completed deletion came to.")
    approved: bool = Field(description="An operator published it although it missed a threshold.")
    stage: Stage | None = Field(description="What a running deletion is doing.")
    progress: float = Field(ge=0, le=1)
    waiting_for: Waiting | None = Field(
        description="Why nobody works on it: it waits for a `worker`, for the first time or because the one before has "
        "fallen silent, for the pause before a `retry` to end, or for the artefact `store` to take what a run made."
    )
    attempt: int = Field(description="Runs so far, since it was accepted or retried.")
    cancel_requested: bool = Field(description="Its worker will cancel it at the next check.")
    error: Failure | None
    reference: str | None
    legal_basis: LegalBasis
    targets: int = Field(description="How many targets the request has.")
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    due_at: datetime = Field(description="One calendar month after receipt (GDPR article 12(3)), or as extended.")
    extension: Extension | None = Field(description="Why it is due later than a month after receipt.")
    overdue: bool = Field(description="It is owed, and its due date has passed.")
    purged_at: datetime | None = Field(description="When the key of the request was destroyed.")
    links: Links

    @classmethod
    def of(cls, row: Deletion, reference: str | None) -> "DeletionView":
        """The row as it stands."""
        failed = row.error_code is not None
        return cls(
            id=row.id,
            model=row.model,
            status=row.status,
            outcome=row.outcome,
            approved=row.approved,
            stage=row.stage,
            progress=row.progress,
            waiting_for=waiting_for(row, clock.now()),
            attempt=row.attempt,
            cancel_requested=row.cancel_requested,
            error=Failure(code=row.error_code or "", message=row.error_message or "") if failed else None,
            reference=reference,
            legal_basis=row.legal_basis,
            targets=row.target_count,
            created_at=row.created_at,
            updated_at=row.updated_at,
            started_at=row.started_at,
            finished_at=row.finished_at,
            due_at=row.due_at,
            extension=Extension.of(row),
            overdue=is_overdue(row, clock.now()),
            purged_at=row.purged_at,
            links=Links.of(row),
        )


class DeletionPage(View):
    """Deletions, newest first."""

    items: list[DeletionView]
    next: str | None = Field(description="Cursor of the next page; null on the last one.")


class WorkerView(View):
    """A worker process, as it last reported."""

    id: str
    model: str
    host: str
    pid: int
    device: str
    state: WorkerState
    loaded: dict[str, bool] = Field(description="What is in memory: model, decoder, curvature.")
    detail: str | None = Field(description="What a loading worker is doing.")
    memory_bytes: int | None = Field(description="Reserved on its GPU, or resident where it computes on the CPU.")
    heartbeat_at: datetime

    @classmethod
    def of(cls, row: WorkerProcess) -> "WorkerView":
        """The row as it was read."""
        return cls(
            id=row.id,
            model=row.model,
            host=row.host,
            pid=row.pid,
            device=row.device,
            state=row.state,
            loaded=row.loaded,
            detail=row.detail,
            memory_bytes=row.memory_bytes,
            heartbeat_at=row.heartbeat_at,
        )


class ModelView(View):
    """A registered base model."""

    id: str
    source: str
    revision: str | None
    decoder: str
    sketch_rank: int
    context_length: int
    created_at: datetime
    workers: int = Field(description="Live workers that serve it.")
    calibrated: bool = Field(description="A live worker holds its curvature.")

    @classmethod
    def of(cls, model: ServedModel, alive: list[WorkerProcess]) -> "ModelView":
        """The model with what its live workers hold."""
        mine = [worker for worker in alive if worker.model == model.id]
        return cls(
            id=model.id,
            source=model.source,
            revision=model.revision,
            decoder=model.decoder,
            sketch_rank=model.sketch_rank,
            context_length=model.context_length,
            created_at=model.created_at,
            workers=len(mine),
            calibrated=any(worker.loaded.get("curvature", False) for worker in mine),
        )


class CallerView(View):
    """Who is calling."""

    tenant: str
    key: str | None = Field(description="Id of the API key; null where none is needed.")
    scopes: list[Scope]
    session_ends_at: datetime | None = Field(default=None, description="Of a session that was just opened.")

    @classmethod
    def of(cls, caller: Caller, session_ends_at: datetime | None = None) -> "CallerView":
        """The caller as it was recognised."""
        return cls(
            tenant=caller.tenant, key=caller.key_id, scopes=sorted(caller.scopes), session_ends_at=session_ends_at
        )


class ModelPage(View):
    """Every registered model."""

    items: list[ModelView]
    next: str | None = Field(default=None, description="Always null: models are few.")


class Health(View):
    """The process answers."""

    status: str = "ok"


class Readiness(View):
    """What the service depends on, and the workers that serve it."""

    status: str = "ready"
    checks: dict[str, str] = Field(
        description="`ok`, or what is wrong, for the database with its migrations and its master key, the broker, the "
        "artefact store and, if asked for, a worker."
    )
    workers: list[WorkerView] = Field(description="Every worker of the last day; none for who shows no key.")


class CommitmentView(View):
    """What opens a certificate's commitment."""

    commitment: str = Field(description="As the certificate has it.")
    salt: str = Field(description="Key of the HMAC, in hexadecimal digits.")


class KeySet(View):
    """Public keys (RFC 7517)."""

    keys: list[dict[str, str]]
