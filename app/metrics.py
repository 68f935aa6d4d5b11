"""Prometheus metrics: what this process answered, and how the records stand. Labels hold no id and no name of a person.

Counters are per process, so Prometheus scrapes each; the records are the same for all of them.
"""

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import ColumnElement, Row, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app import clock
from app.database import Database
from app.deadlines import DISCHARGED, OWED, overdue
from app.models import Deletion, Status, WebhookDelivery, WorkerProcess, WorkerState
from app.workers import Workers

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
ENDED_SECONDS = 300.0  # between two counts of what has ended: it is the most by far, and a scrape must not wait for it
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Requests:
    """What this process answered."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("method", "route")
        self._count = Counter("r2f_requests", "Requests answered.", (*labels, "status"), registry=registry)
        self._seconds = Histogram(
            "r2f_request_seconds",
            "From a request's arrival to the start of its answer.",
            labels,
            buckets=SECONDS,
            registry=registry,
        )

    def answered(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """Count a request. `route` is the template: a path may hold anything."""
        known = (method if method in METHODS else "other", route or "none")
        self._count.labels(*known, str(status)).inc()
        self._seconds.labels(*known).observe(seconds)


class Records(Collector):
    """How the records stand at the moment of a scrape."""

    def __init__(self, database: Database, workers: Workers) -> None:
        self._database = database
        self._workers = workers
        self._ended: Sequence[Row[str, Status, int]] = ()
        self._ended_at = -math.inf

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering must not ask the database."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Every gauge; only that the database is down, when it is."""
        up = GaugeMetricFamily("r2f_database_up", "Whether the database answers.")
        try:
            gauges = self._gauges(clock.now())
        except SQLAlchemyError:
            up.add_metric((), 0)
            yield up
            return
        up.add_metric((), 1)
        yield up
        yield from gauges

    def _gauges(self, now: datetime) -> list[Metric]:
        with self._database.read() as session:
            stand = [*_stand(session, OWED), *self._settled(session)]
            found = [_counts(stand), *_deletions(session, now), *_webhooks(session, now)]
        return found + _workers(self._workers.known(), now)

    def _settled(self, session: Session) -> Sequence[Row[str, Status, int]]:
        """How many have ended, as counted at most ENDED_SECONDS ago."""
        if time.monotonic() - self._ended_at >= ENDED_SECONDS:
            self._ended, self._ended_at = _stand(session, DISCHARGED), time.monotonic()
        return self._ended


def _stand(session: Session, statuses: Sequence[Status]) -> Sequence[Row[str, Status, int]]:
    """How many deletions there are by model and status."""
    wanted = select(Deletion.model, Deletion.status, func.count()).where(Deletion.status.in_(statuses))
    return session.execute(wanted.group_by(Deletion.model, Deletion.status)).all()


def _counts(stand: Iterable[Row[str, Status, int]]) -> Metric:
    counts = GaugeMetricFamily(
        "r2f_deletions",
        "Deletions by where they stand; completed and canceled ones are counted every five minutes.",
        labels=("model", "status"),
    )
    for model, status, count in stand:
        counts.add_metric((model, status), count)
    return counts


def _deletions(session: Session, now: datetime) -> list[Metric]:
    """The queue, and what is late in it."""
    age = GaugeMetricFamily("r2f_queue_age_seconds", "How long the oldest queued deletion waits.", labels=("model",))
    for model, oldest in session.execute(
        select(Deletion.model, func.min(func.coalesce(Deletion.queued_at, Deletion.created_at)))
        .where(Deletion.status == Status.QUEUED)
        .group_by(Deletion.model)
    ):
        age.add_metric((model,), (now - oldest).total_seconds())
    late = _count(session, overdue(now))
    expired = _count(session, (Deletion.status == Status.RUNNING) & (Deletion.lease_expires_at < now))
    return [
        age,
        GaugeMetricFamily("r2f_deletions_overdue", "Deletions owed past their due date.", value=late),
        GaugeMetricFamily("r2f_leases_expired", "Running deletions whose worker has gone silent.", value=expired),
    ]


def _count(session: Session, wanted: ColumnElement[bool]) -> int:
    return session.scalar(select(func.count()).select_from(Deletion).where(wanted)) or 0


def _webhooks(session: Session, now: datetime) -> list[Metric]:
    """What nobody has heard yet."""
    waiting = WebhookDelivery.next_at.is_not(None)
    count, oldest = session.execute(select(func.count(), func.min(WebhookDelivery.created_at)).where(waiting)).one()
    age = (now - oldest).total_seconds() if oldest is not None else 0.0
    return [
        GaugeMetricFamily("r2f_webhook_deliveries_waiting", "Webhook deliveries not taken yet.", value=count),
        GaugeMetricFamily("r2f_webhook_age_seconds", "How long the oldest of them waits.", value=age),
    ]


def _workers(workers: Iterable[WorkerProcess], now: datetime) -> list[Metric]:
    """Who works, and whether they are heard of."""
    counts = GaugeMetricFamily("r2f_workers", "Worker processes of the last day.", labels=("model", "state"))
    ages = GaugeMetricFamily(
        "r2f_worker_heartbeat_age_seconds", "The longest silence of a live worker.", labels=("model",)
    )
    states: dict[tuple[str, str], int] = {}
    silences: dict[str, float] = {}
    for worker in workers:
        states[worker.model, worker.state] = states.get((worker.model, worker.state), 0) + 1
        if worker.state is not WorkerState.STOPPED:
            silence = (now - worker.heartbeat_at).total_seconds()
            silences[worker.model] = max(silence, silences.get(worker.model, 0.0))
    for labels, count in states.items():
        counts.add_metric(labels, count)
    for model, silence in silences.items():
        ages.add_metric((model,), silence)
    return [counts, ages]
