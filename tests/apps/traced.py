"""An app whose jobs enqueue, fail once and log, for tests of traces and logs."""

from __future__ import annotations

import logging

from opentelemetry import baggage, trace

from mesh import JobContext, Mesh, Retry

app = Mesh()
log = logging.getLogger("shop")


@app.task(retry=Retry(max_retries=2, delay_s=0.05, backoff="fixed"))
async def order(ctx: JobContext) -> str:
    """Fail once, then enqueue a job that charges."""
    if ctx.attempt == 1:
        raise ConnectionError("the bank is closed")
    log.info("charging", extra={"amount": 12})
    job = await charge.enqueue()
    return job.id


@app.task
def charge() -> None:
    """Log from a thread."""
    log.info("charged")


@app.task(pool="process")
def count() -> tuple[str, str]:
    """Say which trace a child process is in, and what it was told."""
    log.info("counting")
    span = trace.get_current_span().get_span_context()
    return trace.format_trace_id(span.trace_id), str(baggage.get_baggage("tenant"))
