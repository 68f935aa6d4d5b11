"""The doorbell: a Celery message that carries a deletion's id and wakes a worker; the database is the queue."""

import json
import os
import ssl
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import structlog
from celery import Celery
from kombu.entity import Exchange, Queue
from kombu.exceptions import ChannelError, OperationalError
from kombu.transport import filesystem, redis
from opentelemetry.trace import SpanKind

from app import tracing
from app.errors import RingFailed
from app.folders import make_private
from app.settings import Settings

TASK = "r2f.delete"
_log = structlog.get_logger(__name__)


class _Unacknowledged:
    """A channel of messages that are gone once they are read.

    Celery's solo pool acknowledges a message when its task has ended. A broker that was down at that moment would never
    hear of it, and kombu would wait for the acknowledgement for good before it reads another message: a deaf worker.
    """

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        """Nothing is kept that could be crossed out."""


class _FolderChannel(_Unacknowledged, filesystem.Channel):
    """Kombu's own, except that a message appears whole: its reader stumbles over a half-written one."""

    def _queue_bind(self, *_binding: Any) -> None:
        """Keep no table of bindings, which a kill could tear: messages go to a queue by its name."""

    def _put(self, queue: Any, payload: Any, **kwargs: Any) -> None:  # type: ignore[override]  # bases disagree
        folder = Path(self.data_folder_out)
        name = f"{time.time_ns():020d}_{uuid4().hex}"  # read in the order of names: first come, first served
        draft = folder / f"{name}.part"
        try:
            draft.touch(mode=0o600)
            draft.write_text(json.dumps(payload))
            draft.rename(folder / f"{name}.{queue}.msg")
        except OSError as error:
            raise ChannelError(f"cannot write a message: {error.strerror}") from error


class _RedisChannel(_Unacknowledged, redis.Channel):
    """Kombu's own, without acknowledgements."""


class FolderTransport(filesystem.Transport):
    """The `filesystem://` transport with whole messages, gone once they are read."""

    Channel = _FolderChannel


class RedisTransport(redis.Transport):
    """The `redis://` transport with messages that are gone once they are read."""

    Channel = _RedisChannel


def queue_of(model: str) -> Any:
    """The queue of a model; on the default exchange, so that there are no bindings to keep or to lose."""
    name = f"r2f.{model}"
    return Queue(name, Exchange(""), routing_key=name, no_ack=True)  # type: ignore[no-untyped-call]


def configuration(settings: Settings, *, worker: bool) -> dict[str, Any]:
    """Celery's configuration; makes the folders of the `filesystem://` transport.

    One task at a time in the process that holds the model. Bells are not acknowledged: the lease recovers lost work,
    not the broker.
    """
    values: dict[str, Any] = {
        "broker_url": settings.broker_url,
        "broker_transport_options": _transport_options(settings, worker=worker),
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_ignore_result": True,
        "task_store_errors_even_if_ignored": False,
        "task_acks_late": False,
        "task_publish_retry": False,
        "worker_pool": "solo",
        "worker_concurrency": 1,
        "worker_prefetch_multiplier": 1,
        "worker_enable_remote_control": False,
        "worker_send_task_events": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "enable_utc": True,
    }
    if settings.broker_url.startswith("filesystem://"):
        values |= {"broker_transport": "app.queue:FolderTransport", "broker_url": "filesystem://localhost"}
    else:
        values["broker_transport"] = "app.queue:RedisTransport"
    if settings.broker_url.startswith("rediss://"):
        values["broker_use_ssl"] = {"ssl_cert_reqs": ssl.CERT_REQUIRED}
    if worker:
        values |= {"task_queues": [queue_of(settings.model)], "task_default_queue": f"r2f.{settings.model}"}
    return values


def _transport_options(settings: Settings, *, worker: bool) -> dict[str, Any]:
    """Where the messages are, and how long to wait for whoever keeps them."""
    if settings.broker_url.startswith("filesystem://"):
        messages, control = settings.broker_dir / "messages", settings.broker_dir / "control"
        for folder in (messages, control):
            make_private(folder)
        return {
            "data_folder_in": str(messages),
            "data_folder_out": str(messages),
            "control_folder": str(control),
            "polling_interval": 0.2,
        }
    options: dict[str, Any] = {"global_keyprefix": settings.broker_prefix, "socket_connect_timeout": 2}
    return options if worker else options | {"socket_timeout": 2, "max_retries": 0}


class Bell:
    """Rings for the workers; made once per process that rings."""

    def __init__(self, settings: Settings) -> None:
        self._celery = Celery("r2f-bell", set_as_current=False)
        self._celery.conf.update(configuration(settings, worker=False))

    def ring(self, deletion_id: str, model: str) -> None:
        """Wake a worker of the model; raises RingFailed, after which the sweeper rings again."""
        with tracing.span("ring", SpanKind.PRODUCER, deletion_id=deletion_id, model=model):
            try:
                self._celery.send_task(TASK, args=[deletion_id], queue=queue_of(model))
            except (OperationalError, ChannelError, OSError) as error:
                raise RingFailed from error

    def ring_if_it_can(self, deletion_id: str, model: str) -> None:
        """Ring after an answer has gone out; if that fails the sweeper rings again."""
        try:
            self.ring(deletion_id, model)
        except RingFailed:
            _log.warning("the broker does not answer", deletion_id=deletion_id)

    def check(self) -> None:
        """See that the broker takes messages; raises RingFailed."""
        folder = self._celery.conf.broker_transport_options.get("data_folder_in")
        if folder is not None:
            if not os.access(folder, os.W_OK | os.X_OK):
                raise RingFailed("The broker's folder cannot be written to.")
            return
        try:
            with self._celery.connection_for_write(connect_timeout=2) as connection:
                connection.ensure_connection(max_retries=1, timeout=2)
        except (OperationalError, ChannelError, OSError) as error:
            raise RingFailed from error

    def close(self) -> None:
        """Let go of the broker."""
        self._celery.close()
