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
STRIPE_PASSED_AT: Final = Gauge(
    "tollgate_stripe_pass_timestamp_seconds",
    "When Stripe's lists were last passed: its events by poll, its objects by sweep.",
    ["name"],
)
STRIPE_PASS_FAILURES: Final = Gauge(
    "tollgate_stripe_pass_failures", "Passes over Stripe's lists that failed in a row.", ["name"]
)
STRIPE_EVENTS_POLLED: Final = Counter(
    "tollgate_stripe_events_polled", "Events that the journal lacked when Stripe listed them."
)
STRIPE_EVENTS_GONE: Final = Counter(
    "tollgate_stripe_events_gone", "Polls so late that Stripe had forgotten events before them."
)
STRIPE_DIFFERENCES: Final = Gauge(
    "tollgate_stripe_differences",
    "Objects that the last sweep found otherwise at Stripe.",
    ["kind"],
)


def serve(address: str) -> None:
    """Show them on ``host:port``, from a thread of its own that ends with the process."""
    host, _, port = address.rpartition(":")
    start_http_server(int(port), host or "127.0.0.1")
