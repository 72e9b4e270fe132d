"""opentelemetry-instrumentation-celery: spans of calls and runs, each a line in a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from celery import signals
from opentelemetry import trace
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from tests.packages.apps import make_app, write_line

app = make_app("tracing")


class Lines(SpanExporter):
    """Writes spans into a file that all processes share."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        for span in spans:
            context = span.get_span_context()
            line = {
                "name": span.name,
                "kind": span.kind.name,
                "trace": context and f"{context.trace_id:032x}",
                "id": context and context.span_id,
                "parent": span.parent and span.parent.span_id,
                "status": span.status.status_code.name,
                "events": [event.name for event in span.events],
                "attributes": dict(span.attributes or {}),
            }
            write_line("spans", line)
        return SpanExportResult.SUCCESS


@signals.worker_process_init.connect(weak=False)
def init(**_: Any) -> None:
    """Trace this process, as the package's documentation has it."""
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Lines()))
    trace.set_tracer_provider(provider)
    CeleryInstrumentor().instrument()


@signals.worker_process_shutdown.connect(weak=False)
def shutdown(**_: Any) -> None:
    """Write what is still held."""
    trace.get_tracer_provider().shutdown()  # type: ignore[attr-defined]


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task
def fail(text: str) -> None:
    raise ValueError(text)


@app.task(bind=True, max_retries=1)
def again(self: Any) -> int:
    if self.request.retries == 0:
        raise self.retry(countdown=0, exc=KeyError("not yet"))
    return add.delay(1, 1).id and 1


def scenario() -> Any:
    """Call the tasks within one trace; return its id and the ids of the tasks."""
    init()
    with trace.get_tracer(__name__).start_as_current_span("the producer") as span:
        results = [add.delay(1, 2), again.delay(), fail.apply_async(("boom",), priority=3)]
        trace_id = f"{span.get_span_context().trace_id:032x}"
    for result in results:
        result.get(timeout=20, propagate=False)
    shutdown()
    return trace_id, [result.id for result in results]
