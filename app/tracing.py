"""OpenTelemetry spans from the call to the last stage: ids, codes and counts, as in the logs, and of an error its type.

The row of a deletion carries its trace from the API to the worker: a bell may be lost, or wake a worker for another.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app.settings import Settings

NANOSECONDS = 1_000_000_000
PARENT = "traceparent"
_tracer = trace.get_tracer("r2f")  # does nothing until `start` has been called
_propagator = TraceContextTextMapPropagator()


def start(settings: Settings, service: str) -> None:
    """Send this process's spans where the OTEL_EXPORTER_OTLP_* variables say; nothing unless R2F_TRACES is on.

    Args:
        service: the `service.name`, unless OTEL_SERVICE_NAME gives one.

    Raises:
        ImportError: the extra `traces` is not installed.
    """
    if not settings.traces:
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create({SERVICE_NAME: service}).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)  # ends itself with the process, after sending what it holds


@contextmanager
def span(
    name: str, kind: SpanKind = SpanKind.INTERNAL, parent: str | None = None, **attributes: str | int | None
) -> Iterator[trace.Span]:
    """A span around the block; an error that leaves it is noted by its type, because its message may quote a request.

    Args:
        parent: a `traceparent`; the span at hand if absent.
        attributes: ids, codes and counts, as `r2f.<name>`; None is left out.
    """
    known = {f"r2f.{key}": value for key, value in attributes.items() if value is not None}
    with _tracer.start_as_current_span(
        name, _context(parent), kind, known, record_exception=False, set_status_on_exception=False
    ) as made:
        try:
            yield made
        except Exception as error:
            failed(made, type(error).__name__)
            raise


class Steps:
    """Spans that follow one another under the span at hand: each ends where the next begins."""

    def __init__(self) -> None:
        self._step: trace.Span | None = None

    def begin(self, name: str) -> None:
        """End the step before, and begin one."""
        self.end()
        self._step = _tracer.start_span(name)

    def end(self, error: str | None = None) -> None:
        """End the last step.

        Args:
            error: the type of what broke it off.
        """
        if self._step is None:
            return
        if error is not None:
            failed(self._step, error)
        self._step.end()
        self._step = None


def failed(made: trace.Span, kind: str) -> None:
    """Note that what a span measures went wrong.

    Args:
        kind: a code, a status or an error's type.
    """
    made.set_attribute("error.type", kind)
    made.set_status(StatusCode.ERROR)


def past(name: str, parent: str, began: datetime, ended: datetime) -> None:
    """A span of what nobody could measure while it lasted, such as waiting."""
    made = _tracer.start_span(name, _context(parent), start_time=_nanoseconds(began))
    made.end(_nanoseconds(ended))


def here() -> str | None:
    """The `traceparent` of the span at hand; None where nothing is traced."""
    if not trace.get_current_span().is_recording():
        return None
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get(PARENT)


def note(**attributes: str | int) -> None:
    """Add ids, codes and counts to the span at hand."""
    for key, value in attributes.items():
        trace.get_current_span().set_attribute(f"r2f.{key}", value)


def _context(parent: str | None) -> Context | None:
    return None if parent is None else _propagator.extract(_carrier(parent), Context())


def _carrier(parent: str) -> Mapping[str, str]:
    return {PARENT: parent}


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * NANOSECONDS)
