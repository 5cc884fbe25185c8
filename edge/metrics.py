"""What Prometheus is told."""

from typing import Final

from prometheus_client import Counter, Histogram

REQUESTS: Final = Counter(
    "tollgate_requests", "Requests answered, by endpoint and status.", ["endpoint", "status"]
)
SECONDS: Final = Histogram(
    "tollgate_request_seconds",
    "From the first byte in to the last byte out, by endpoint.",
    ["endpoint"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
METER_COMMIT: Final = Histogram(
    "tollgate_meter_commit_seconds",
    "How long a unit of usage events took to be durable.",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5),
)
METER_UNIT: Final = Histogram(
    "tollgate_meter_unit_events",
    "Usage events in one unit.",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
)
METER_VOIDED: Final = Counter(
    "tollgate_meter_voided", "Usage events taken back because their caller was told 503."
)
BAD_REPLIES: Final = Counter(
    "tollgate_bad_replies", "Replies of workers that had the wrong shape.", ["model", "task"]
)
STREAMS: Final = Counter("tollgate_streams", "Streams, by how they ended.", ["end"])
REFUSED: Final = Counter("tollgate_refused", "Requests refused, by limit.", ["policy"])
SHADOW_REFUSED: Final = Counter(
    "tollgate_shadow_refused", "Requests that a shadow limit would have refused.", ["policy"]
)
CUT_OFF: Final = Counter(
    "tollgate_connections_cut_off", "Connections refused, or closed for a reason.", ["reason"]
)
JOBS: Final = Counter("tollgate_jobs", "Asynchronous requests finished here.", ["status"])
