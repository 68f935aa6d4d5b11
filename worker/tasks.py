"""The Celery side of the worker: `celery -A worker.tasks worker --pool solo`. Tasks are thin; `worker.running` works.

The model is loaded when the process starts, before it listens; a bell makes it claim one deletion.
"""

import os
import platform
import time
from contextlib import suppress
from typing import Any
from uuid import uuid4

import structlog
from celery import Celery, signals
from celery.worker import state
from sqlalchemy.exc import SQLAlchemyError

from app import tracing
from app.errors import KeyNotAtHand, RingFailed
from app.leases import Leases
from app.logs import configure_logging
from app.models import ServedModel
from app.queue import TASK, Bell, configuration
from app.records import open_records
from app.registry import Registry
from app.settings import Settings
from app.storage import load_store
from app.workers import Workers
from worker.errors import PipelineError
from worker.heartbeat import Heartbeat
from worker.running import Method, Runner

DETAIL_SECONDS = 1.0
_log = structlog.get_logger(__name__)


class Process:
    """What a worker process holds from its start to its end."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        tracing.start(settings, "r2f-worker")
        records = open_records(settings)
        self._database = records.database
        self._leases = Leases(self._database, records.sealer, settings)
        self._workers = Workers(self._database, settings)
        self._bell = Bell(settings)
        self.heartbeat = Heartbeat(
            self._workers,
            self._leases,
            f"wrk_{uuid4().hex}",
            settings.heartbeat_seconds,
            handed_back=lambda claim: self._ring(claim.deletion_id),
            refresh_keys=records.keys.refresh,
        )
        self._runner: Runner | None = None
        self._began = time.monotonic()

    def load(self) -> None:
        """Take the model into memory; the heartbeat says meanwhile what it is at."""
        model = Registry(self._database, self.settings).get(self.settings.model)
        worker_id = self.heartbeat.worker_id
        self._workers.register(worker_id, model.id, platform.node(), os.getpid(), self.settings.device)
        self.heartbeat.start()
        loaded, method = _load(model, self.settings, _Notice(self.heartbeat))
        self._runner = Runner(model.id, loaded, method, self._leases, load_store(self.settings), self.heartbeat)

    def listen(self) -> None:
        """Report ready, and take up what was queued before."""
        self.heartbeat.ready({"model": True, "decoder": True, "curvature": True})
        seconds = round(time.monotonic() - self._began, 2)
        _log.info("ready", worker=self.heartbeat.worker_id, model=self.settings.model, seconds=seconds)
        self._ring_for_more()

    def work(self) -> None:
        """Run the next deletion; nothing once the process shall end, and then others are left to hear the bells."""
        if self._runner is None or self.heartbeat.leaving:
            return
        try:
            worked = self._runner.work() is not None
        except KeyNotAtHand as error:
            self._give_up(str(error))
            return
        if worked and not self.heartbeat.leaving:
            self._ring_for_more()

    def stop(self) -> None:
        """Let go of everything; bells that this process took with it are rung again for the others."""
        self.heartbeat.stop()
        if self._runner is not None:
            with suppress(SQLAlchemyError):  # the sweeper will
                self._ring_for_more()
        self._bell.close()
        self._database.close()

    def _give_up(self, reason: str) -> None:
        """End the process: what it claims it could only hand back, and the others would wait behind it."""
        _log.error("this worker can open no request", worker=self.heartbeat.worker_id, reason=reason)
        self.heartbeat.leave()
        state.should_stop = 1  # Celery ends with this code after the task at hand

    def _ring_for_more(self) -> None:
        """Ring for what still waits: its own bell may have been lost with the broker."""
        waiting = self._leases.waiting(self.settings.model)
        if waiting is not None:
            self._ring(waiting)

    def _ring(self, deletion_id: str) -> None:
        try:
            self._bell.ring(deletion_id, self.settings.model)
        except RingFailed:
            _log.warning("the broker does not answer", deletion_id=deletion_id)


class _Notice:
    """Passes on what the loading is at, once a second while it is the same thing."""

    def __init__(self, heartbeat: Heartbeat) -> None:
        self._heartbeat = heartbeat
        self._text, self._at = "", 0.0

    def __call__(self, text: str, share: float | None) -> None:
        """`share` of what `text` says is done, where that is known."""
        now = time.monotonic()
        if text == self._text and now - self._at < DETAIL_SECONDS:
            return
        self._text, self._at = text, now
        self._heartbeat.doing(text if share is None else f"{text}: {share:.0%}")


def _load(model: ServedModel, settings: Settings, notice: _Notice) -> tuple[Any, Method]:
    """The loaded model and the pipeline; imported here, because torch takes seconds and tests do without."""
    take_over_logs()
    from worker import loading, pipeline

    return loading.load(model, settings, notice), Method(pipeline.run, PipelineError)


def take_over_logs() -> None:
    """Make the libraries that load models write to the log, and draw no bars between its lines."""
    os.environ["TQDM_DISABLE"] = "1"  # read when tqdm is imported
    from transformers.utils import logging as foreign

    foreign.disable_default_handler()
    foreign.enable_propagation()


class _Host:
    """Holds the process's state between Celery's signals."""

    process: Process | None = None


celery = Celery("r2f")
celery.add_defaults(lambda: configuration(Settings(), worker=True))


def _log_as_json(**_: object) -> None:
    """Keep Celery from setting up logs of its own."""
    configure_logging(Settings().log_level)


def _start(**_: object) -> None:
    """Load before listening. A process that cannot load ends: one that listens without a model would hide it."""
    process = Process(Settings())
    try:
        process.load()
    except Exception as error:
        # No request is in sight yet, so the reason can be told.
        _log.exception("the worker could not load", model=process.settings.model, reason=str(error))
        process.stop()
        raise SystemExit(1) from error
    _Host.process = process


def _listen(**_: object) -> None:
    if _Host.process is not None:
        _Host.process.listen()


def _leave(**_: object) -> None:
    """A shutdown gives the run at hand back to the queue instead of waiting for its end."""
    if _Host.process is not None:
        _Host.process.heartbeat.leave()


def _stop(**_: object) -> None:
    if _Host.process is not None:
        _Host.process.stop()


def delete(deletion_id: str) -> None:
    """Work off one deletion: the oldest that may be taken, which need not be the one that rang."""
    if _Host.process is not None:
        _Host.process.work()


signals.celeryd_init.connect(_log_as_json)  # before Celery's first warning
signals.setup_logging.connect(_log_as_json)
signals.worker_process_init.connect(_start)
signals.worker_ready.connect(_listen)
signals.worker_shutting_down.connect(_leave)
signals.worker_shutdown.connect(_stop)
celery.task(name=TASK)(delete)
