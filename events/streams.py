"""JetStream's part of the wire: which streams there are, and who makes them.

`tollgate migrate` makes and changes them; everyone else only checks that they are
there. The broker must fsync before it acknowledges (`sync_interval: always`): with
its default, a power cut takes what was acknowledged.
"""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from nats.aio.client import Client
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DiscardPolicy,
    PersistMode,
    RetentionPolicy,
    StorageType,
    StreamConfig,
    StreamInfo,
)
from nats.js.errors import BadRequestError, NotFoundError, ServerError

from events import accounts, audits, budgets, counters, edges, jobs, models, stripe, usage
from events.errors import StreamMissing, StreamUnfit

DAY_S: Final = 86_400
MIB: Final = 2**20

USAGE: Final = "USAGE"
STRIPE: Final = "STRIPE"
MODELS: Final = "MODELS"
PARKED: Final = "PARKED"
ACCOUNTS: Final = "ACCOUNTS"
IDEMPOTENCY: Final = "KV_idempotency"  # a key-value bucket, as NATS calls it
RATES: Final = counters.RATES
LIMITS: Final = counters.LIMITS
QUOTAS: Final = counters.QUOTAS
BUDGETS: Final = "BUDGETS"
EDGES: Final = "EDGES"
AUDITS: Final = "AUDITS"
JOBS: Final = "JOBS"
RESULTS: Final = "RESULTS"
COMPLETIONS: Final = "COMPLETIONS"

USAGE_EVENT_BYTES: Final = 800  # measured, with its headers: docs/benchmarks.md
MAX_BATCH: Final = 1_000  # messages of one atomic batch; the broker's limit
FETCH: Final = 1_000  # messages a consumer takes at once


class Sizes(Struct, frozen=True, kw_only=True):
    """How much disk the buffers may take, and for how long they keep."""

    usage_bytes: int = 2_048 * MIB
    usage_days: float = 7.0
    stripe_bytes: int = 512 * MIB
    stripe_days: float = 30.0  # as far back as Stripe lists events
    jobs_bytes: int = 1_024 * MIB  # of what waits; results may take twice as much


def _stream(name: str, subjects: str, *, max_bytes: int, max_age_s: float) -> StreamConfig:
    """A stream that refuses when it is full; the default deletes the oldest, silently."""
    return StreamConfig(
        name=name,
        subjects=[subjects],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,
        max_bytes=max_bytes,
        max_age=max_age_s,
        allow_direct=True,
    )


def _counters(name: str, subjects: str, *, max_age_s: float) -> StreamConfig:
    """A stream of counters: one small message each, and no limit of its own.

    The broker does not let counters refuse when they are full; the alternative is to
    forget the oldest, which would let everything through again.
    """
    return StreamConfig(
        name=name,
        subjects=[subjects],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        max_age=max_age_s,
        allow_direct=True,
        allow_msg_counter=True,
    )


def configs(sizes: Sizes) -> Sequence[StreamConfig]:
    """Every stream, as it should be."""
    usage_stream = _stream(
        USAGE,
        usage.SUBJECTS,
        max_bytes=sizes.usage_bytes,
        max_age_s=sizes.usage_days * DAY_S,
    )
    usage_stream.allow_atomic = True  # group commit; nats-server 2.12 and later
    # longer than an edge goes on resending what it does not know the fate of
    usage_stream.duplicate_window = 600.0
    stripe_stream = _stream(
        STRIPE,
        stripe.SUBJECTS,
        max_bytes=sizes.stripe_bytes,
        max_age_s=sizes.stripe_days * DAY_S,
    )
    stripe_stream.allow_atomic = True
    # longer than polls list an event that was parked again and again (consumers/stripe/poll.py)
    stripe_stream.duplicate_window = 1_800.0
    models_stream = _stream(MODELS, models.SUBJECTS, max_bytes=64 * MIB, max_age_s=DAY_S)
    models_stream.max_msgs_per_subject = 1  # the last word of each worker on each model
    models_stream.discard = DiscardPolicy.OLD  # which then only ever drops the superseded
    parked_stream = _stream(PARKED, "parked.>", max_bytes=256 * MIB, max_age_s=90 * DAY_S)
    accounts_stream = _stream(ACCOUNTS, accounts.SUBJECTS, max_bytes=1_024 * MIB, max_age_s=0)
    accounts_stream.max_msgs_per_subject = 1  # the last word on each account and key
    accounts_stream.discard = DiscardPolicy.OLD
    # nothing ages here, or a budget that nobody used for long would be whole again
    quotas_stream = _counters(QUOTAS, counters.QUOTAS_SUBJECTS, max_age_s=0)
    limits_stream = _counters(LIMITS, counters.LIMITS_SUBJECTS, max_age_s=counters.KEPT_S)
    rates_stream = _counters(RATES, counters.RATES_SUBJECTS, max_age_s=counters.KEPT_S)
    rates_stream.persist_mode = PersistMode.ASYNC  # six times the rate; see events/counters.py
    budgets_stream = _stream(BUDGETS, budgets.SUBJECTS, max_bytes=128 * MIB, max_age_s=30 * DAY_S)
    edges_stream = _stream(EDGES, edges.SUBJECTS, max_bytes=64 * MIB, max_age_s=90 * DAY_S)
    edges_stream.max_msgs_per_subject = 1  # the last word of each start of an edge
    edges_stream.discard = DiscardPolicy.OLD
    audits_stream = _stream(AUDITS, audits.SUBJECTS, max_bytes=64 * MIB, max_age_s=365 * DAY_S)
    # full, it refuses, and requests with an Idempotency-Key get 503
    idempotency_stream = _stream(
        IDEMPOTENCY, "$KV.idempotency.>", max_bytes=1_024 * MIB, max_age_s=DAY_S
    )
    idempotency_stream.max_msgs_per_subject = 1
    idempotency_stream.allow_rollup_hdrs = True
    idempotency_stream.deny_delete = True
    # full, it refuses, and asynchronous requests get 503
    jobs_stream = _stream(JOBS, jobs.SUBJECTS, max_bytes=sizes.jobs_bytes, max_age_s=0)
    jobs_stream.retention = RetentionPolicy.WORK_QUEUE  # what is acknowledged is gone
    jobs_stream.max_msgs_per_subject = 1
    # nearly full, no job begins, so that there is room for the results of those that have
    results_stream = _stream(
        RESULTS,
        jobs.RESULTS_SUBJECTS,
        max_bytes=2 * sizes.jobs_bytes,
        max_age_s=jobs.KEPT_S,
    )
    results_stream.max_msgs_per_subject = 1
    # a day longer than is tried to post them
    completions_stream = _stream(
        COMPLETIONS, jobs.COMPLETIONS_SUBJECTS, max_bytes=128 * MIB, max_age_s=4 * DAY_S
    )
    # who is told is told of results that are there: better one is not told than all wait
    completions_stream.discard = DiscardPolicy.OLD
    return (
        usage_stream,
        stripe_stream,
        models_stream,
        parked_stream,
        accounts_stream,
        rates_stream,
        limits_stream,
        quotas_stream,
        budgets_stream,
        edges_stream,
        audits_stream,
        idempotency_stream,
        jobs_stream,
        results_stream,
        completions_stream,
    )


def usage_fold() -> ConsumerConfig:
    """The durable consumer that the fold's processes share."""
    return ConsumerConfig(
        durable_name="usage_fold",
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=30.0,
        max_ack_pending=8 * FETCH,  # fewer than four fetches starve the next one
        max_deliver=-1,  # never given up: what cannot be read is parked
    )


async def folded_up_to(connection: Client) -> int:
    """The message of USAGE up to which everything is in the ledger, or parked.

    Raises:
        nats.errors.Error: the broker is away, or nothing was ever folded.
    """
    name = usage_fold().durable_name or ""
    floor = (await connection.jetstream().consumer_info(USAGE, name)).ack_floor
    return floor.stream_seq if floor else 0


def stripe_journal() -> ConsumerConfig:
    """The durable consumer that the reconciler's processes share."""
    return ConsumerConfig(
        durable_name="stripe_journal",
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=30.0,
        max_ack_pending=FETCH,
        max_deliver=-1,
    )


def budget_webhooks() -> ConsumerConfig:
    """The durable consumer that tells customers of their budgets."""
    return ConsumerConfig(
        durable_name="budget_webhooks",
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=30.0,
        max_ack_pending=-1,  # one account's receiver that fails holds up nobody else's
        max_deliver=-1,
    )


def job_lane(lane: jobs.Lane) -> ConsumerConfig:
    """The durable consumer of one lane, which all edges share.

    Whoever has a job in hand says so every few seconds: the wait is for edges that died.
    """
    return ConsumerConfig(
        durable_name=f"jobs_{lane}",
        filter_subject=jobs.filter_of(lane),
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=jobs.SILENCE_S,
        max_ack_pending=-1,  # one account's jobs that wait for its limits hold up nobody else's
        max_deliver=-1,
    )


def job_webhooks() -> ConsumerConfig:
    """The durable consumer that tells customers that their jobs are finished."""
    return ConsumerConfig(
        durable_name="job_webhooks",
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=30.0,
        max_ack_pending=-1,  # one account's receiver that fails holds up nobody else's
        max_deliver=-1,
    )


def subscriber(name: str, filters: Sequence[str]) -> ConsumerConfig:
    """The durable consumer of a service that reads usage, from the oldest event on.

    Made by the operator, not by the service: who may make one may have the broker deliver
    to any subject (docs/decisions/0010).

    Args:
        name: Of the consumer, and of the service's account on the broker.
        filters: Subjects; each event must fit one of them at most.
    """
    return ConsumerConfig(
        name=name,
        durable_name=name,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=30.0,
        max_ack_pending=FETCH,
        max_deliver=-1,
        filter_subjects=list(filters),
    )


async def prepare(connection: Client, sizes: Sizes) -> Sequence[StreamInfo]:
    """Make every stream, or change it to what it should be; idempotent.

    Raises:
        StreamUnfit: the broker is too old, or has not that much disk.
    """
    jetstream = connection.jetstream()
    made = []
    for config in configs(sizes):
        name = config.name or ""
        try:
            try:
                info = await jetstream.update_stream(config)
            except NotFoundError:
                info = await jetstream.add_stream(config)
        except (BadRequestError, ServerError) as error:
            raise StreamUnfit(name, error.description or str(error)) from error
        # servers before 2.12 ignore settings that they do not know, and say nothing
        if config.allow_atomic and not info.config.allow_atomic:
            raise StreamUnfit(name, "this broker has no atomic batches; run nats-server 2.15.1")
        if config.allow_msg_counter and not info.config.allow_msg_counter:
            raise StreamUnfit(name, "this broker has no counters; run nats-server 2.15.1")
        made.append(info)
    return made


async def require(connection: Client, *names: str) -> None:
    """Check that streams are there.

    Raises:
        StreamMissing: one is not.
    """
    jetstream = connection.jetstream()
    for name in names:
        try:
            await jetstream.stream_info(name)
        except NotFoundError as error:
            raise StreamMissing(name) from error


def disk_estimate(sizes: Sizes) -> str:
    """One line on what the usage stream's size means."""
    events = sizes.usage_bytes // USAGE_EVENT_BYTES
    rate = events / (sizes.usage_days * DAY_S)
    return (
        f"USAGE keeps {sizes.usage_days:g} days in at most {sizes.usage_bytes / MIB:,.0f} MiB: "
        f"about {events:,} events of {USAGE_EVENT_BYTES} bytes, or {rate:,.1f} a second "
        f"all the time; full, it refuses, and callers get 503"
    )
