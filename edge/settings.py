"""Everything the edge reads from its environment."""

from typing import Annotated

from msgspec import Meta, Struct

from events.errors import WireError

Secret = Annotated[str, Meta(min_length=16, extra={"secret": True})]


class BadSetting(WireError):
    """A value that is of the right type, and cannot be used; the message names its variable."""


class Settings(Struct, frozen=True, kw_only=True):
    """Read once, in main; passed down, never imported."""

    nats_url: str
    database_url: str
    key_secret: Secret  # keys are kept as hashes keyed with it; changing it revokes all
    admin_token: Secret  # opens /v1/admin/...
    stripe_webhook_secrets: str = ""  # comma-separated; two during a rotation
    stripe_api_key: str = ""  # secret or restricted; without it, nothing is asked of Stripe
    stripe_api_base: str = ""  # of a stand-in's; Stripe's own without it
    receipt_keys: Secret = ""  # 32 bytes each, in base64, comma-separated; the first one signs
    receipt_issuer: str = "tollgate"  # who receipts are from: best a URL of yours
    models_file: str = ""  # declarations; models that workers announce are known too
    plans_file: str = ""  # what accounts may use; without it, everything
    gates_file: str = ""  # what proxies may ask about; without it, nothing
    services: str = "api,webhooks,internal"  # the doors that this edge opens
    root_path: str = ""  # what a proxy in front strips, as /api/v1
    max_body_bytes: Annotated[int, Meta(ge=1_024)] = 10 * 2**20
    public_url: str = ""  # where callers find this API; without it, where they say that they do
    deadline_s: Annotated[float, Meta(gt=0)] = 30.0  # from the body to the answer's first byte
    stream_s: Annotated[float, Meta(gt=0)] = 600.0  # from the body to a stream's last event
    retry_s: Annotated[float, Meta(ge=0)] = 2.0  # to find a worker where none is there
    max_wait_s: Annotated[float, Meta(ge=0)] = 30.0  # for a worker to have room
    max_waiting: Annotated[int, Meta(ge=0)] = 1_000  # requests for one model that wait for that
    publish_timeout_s: Annotated[float, Meta(gt=0)] = 5.0  # for an event to be durable
    failures_s: Annotated[float, Meta(gt=0)] = 5.0  # how often refused requests are stated
    jobs_at_once: Annotated[int, Meta(ge=0, le=1_000)] = 16  # by this process; 0: none
    job_s: Annotated[float, Meta(gt=0)] = 21_600.0  # to get their turn
    open_jobs: Annotated[int, Meta(ge=1, le=50_000)] = 1_000  # of one account, that wait or run
    open_job_bytes: Annotated[int, Meta(ge=1_024)] = 64 * 2**20  # of their bodies together
    job_body_bytes: Annotated[int, Meta(ge=1_024)] = 2**20  # of one
    webhooks_inside: bool = False  # also to http, and to addresses that are not on the internet
    drain_s: Annotated[float, Meta(gt=0)] = 20.0  # from SIGTERM to the last answer

    tls_certificate: str = ""  # a PEM file with the chain; without it, no TLS
    tls_key: str = ""  # its key's
    cors_origins: str = ""  # whose pages may ask, comma-separated; * for all
    head_s: Annotated[float, Meta(gt=0)] = 10.0  # from a connection, or a first byte, to a head
    body_s: Annotated[float, Meta(gt=0)] = 10.0  # for a body, and a second for each 16 KiB more
    unread_s: Annotated[float, Meta(gt=0)] = 8.0  # for a caller to go on taking its answer
    keep_alive_s: Annotated[float, Meta(gt=0)] = 10.0  # between two requests on a connection
    max_connections: Annotated[int, Meta(ge=1)] = 10_000  # of one process
    max_connections_per_address: Annotated[int, Meta(ge=1)] = 1_000  # a /64 of IPv6 is one
    trusted_proxies: str = ""  # addresses and networks, whose connections are not counted so

    def __repr__(self) -> str:
        return "Settings(...)"  # holds secrets, and URLs may too
