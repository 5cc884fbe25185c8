"""Everything the consumers read from their environment."""

from typing import Annotated

from msgspec import Meta, Struct

from ledger.ages import DEFAULT_DAYS, Days
from ledger.stripe.api import PER_SECOND


class Settings(Struct, frozen=True, kw_only=True):
    """Read once, in main; passed down, never imported."""

    nats_url: str
    database_url: str
    usage_workers: Annotated[int, Meta(ge=1)] = 2  # batches at once: one is read as one is written
    stripe_workers: Annotated[int, Meta(ge=1)] = 2
    stripe_api_key: str = ""  # secret or restricted; without it, nothing is asked of Stripe
    stripe_api_base: str = ""  # of a stand-in's; Stripe's own without it
    stripe_poll_s: Annotated[float, Meta(ge=0)] = 60.0  # between two looks at its events; 0: never
    stripe_sweep_s: Annotated[float, Meta(ge=0)] = 86_400.0  # between two of its objects; 0: never
    stripe_requests_per_second: Annotated[float, Meta(ge=1)] = PER_SECOND  # of this process
    stripe_meter_s: Annotated[float, Meta(ge=0)] = 900.0  # between two exports of usage; 0: never
    plans_file: str = ""  # what accounts may use, the plans of Stripe's prices, what is metered
    webhooks_inside: bool = False  # also to http, and to addresses that are not on the internet
    linger_s: Annotated[float, Meta(ge=0, le=5)] = 0.2  # what a batch waits to fill: fewer commits
    audit_s: Annotated[float, Meta(ge=0)] = 3_600.0  # between two verifications; 0: never
    usage_retention_days: Days = DEFAULT_DAYS  # of raw events; tell `tollgate migrate`, too
    metrics_address: str = ""  # host:port of Prometheus' metrics; none without it
    drain_s: Annotated[float, Meta(gt=0)] = 20.0  # from SIGTERM to the last acknowledgement

    def __repr__(self) -> str:
        return "Settings(...)"  # its URLs may hold secrets
