"""Find the trace that is current, so that a duration can name an example of what took it."""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.trace import format_trace_id


def current_trace_id() -> str:
    """The id of the current trace if it is sampled, as 32 hexadecimal digits; else empty."""
    context = trace.get_current_span().get_span_context()
    is_told = context.is_valid and context.trace_flags.sampled
    return format_trace_id(context.trace_id) if is_told else ""
