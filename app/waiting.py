"""What a deletion that nobody works on is waiting for."""

from datetime import datetime
from enum import StrEnum
from typing import Protocol

from app.models import Status


class Waiting(StrEnum):
    """What has to happen before a deletion goes on."""

    WORKER = "worker"  # one takes it, for the first time or after another has fallen silent
    RETRY = "retry"  # the pause after a failed run ends
    STORE = "store"  # the artefact store has room and answers; tried again after a pause


class _Row(Protocol):
    @property
    def status(self) -> Status: ...
    @property
    def not_before(self) -> datetime | None: ...
    @property
    def lease_expires_at(self) -> datetime | None: ...
    @property
    def error_code(self) -> str | None: ...


def waiting_for(row: _Row, now: datetime) -> Waiting | None:
    """None while a worker holds its lease, and once it has ended or waits for a review."""
    if row.status == Status.QUEUED:
        if row.not_before is None or row.not_before <= now:
            return Waiting.WORKER
        return Waiting.RETRY if row.error_code is None else Waiting.STORE
    if row.status == Status.RUNNING and row.lease_expires_at is not None and row.lease_expires_at < now:
        return Waiting.WORKER
    return None
