"""What Prometheus is told."""

from typing import Final

from prometheus_client import Counter, Gauge, start_http_server

AUDIT_MISSING: Final = Gauge(
    "tollgate_audit_missing", "Usage events that an edge stated and nobody has, at the last look."
)
AUDIT_DOUBLE: Final = Gauge(
    "tollgate_audit_double", "Usage events that are there more than once, at the last look."
)
AUDIT_FINDINGS: Final = Gauge("tollgate_audit_findings", "All that did not fit, at the last look.")
AUDITED_AT: Final = Gauge("tollgate_audit_timestamp_seconds", "When usage was last verified.")
METER_EVENTS: Final = Counter(
    "tollgate_stripe_meter_events", "Meter events that Stripe took, or that were parked.", ["fate"]
)
METERED_AT: Final = Gauge(
    "tollgate_stripe_metered_timestamp_seconds", "When Stripe's meters were last told all."
)


def serve(address: str) -> None:
    """Show them on ``host:port``, from a thread of its own that ends with the process."""
    host, _, port = address.rpartition(":")
    start_http_server(int(port), host or "127.0.0.1")
