"""Logs as JSON lines that cannot hold personal data: only listed keys pass, and errors lose their message."""

import logging
import sys
import traceback
import warnings
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

# Ids, codes and counts. Whatever else a call passes is dropped.
ALLOWED = frozenset(
    {
        "event", "level", "timestamp", "logger", "request_id", "deletion_id", "worker", "model", "status", "stage",
        "outcome", "code", "attempt", "token", "method", "route", "status_code", "milliseconds", "seconds", "device",
        "error", "frames", "reason", "count", "bytes",
    }
)  # fmt: skip
# Foreign loggers whose messages may quote what they were given.
SILENCED = ("uvicorn.access", "celery.app.trace", "sqlalchemy.engine", "httpx", "httpx2", "alembic.runtime.migration")


def only_allowed(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Drop every key that is not on the list."""
    return {key: value for key, value in event.items() if key in ALLOWED}


def without_message(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Turn an exception into its type and the places it came through; its message may quote personal data."""
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    if isinstance(info, BaseException):
        info = (type(info), info, info.__traceback__)
    if isinstance(info, tuple) and info[0] is not None:
        event["error"] = info[0].__name__
        event["frames"] = [
            f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno} {frame.name}"
            for frame in traceback.extract_tb(info[2])[-12:]
        ]
    return event


def log_warning(
    _message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    _file: TextIO | None = None,
    _line: str | None = None,
) -> None:
    """Log that a library warns, and where; its message may quote personal data."""
    place = f"{filename.rsplit('/', 1)[-1]}:{lineno}"
    structlog.get_logger(__name__).warning("a library warns", error=category.__name__, frames=[place])


def configure_logging(level: str) -> None:
    """Send structlog and the standard library's loggers through the same processors, to standard error."""
    shared: list[structlog.types.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[without_message, only_allowed, structlog.processors.JSONRenderer()],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "celery"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
    warnings.showwarning = log_warning  # type: ignore[assignment]  # the names of its parameters differ
    for name in SILENCED:
        logging.getLogger(name).setLevel(logging.CRITICAL)
