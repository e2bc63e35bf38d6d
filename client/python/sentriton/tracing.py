"""Sends the caller's OpenTelemetry span in the header `traceparent`, so that the server continues the trace."""

from __future__ import annotations

import sys


def trace_headers() -> tuple[tuple[str, str], ...]:
    """Headers of the caller's trace, if OpenTelemetry is imported and has a span."""
    if "opentelemetry.trace" not in sys.modules:
        return ()
    from opentelemetry import propagate

    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return tuple(carrier.items())
