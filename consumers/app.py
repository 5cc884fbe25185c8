"""The consumers' process: everything is opened here, and closed in reverse order."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import structlog
from nats.errors import Error

from consumers import metrics
from consumers.audits import keep_audited
from consumers.budgets import budget_webhooks
from consumers.clearing import keep_clear
from consumers.consumer import Consumer
from consumers.hooks import Hooks
from consumers.jobs import job_webhooks
from consumers.outbox import Relay
from consumers.retention import keep_retention
from consumers.settings import Settings
from consumers.stripe.customers import keep_customers
from consumers.stripe.journal import stripe_journal
from consumers.stripe.metering import keep_metered
from consumers.stripe.passes import Turns, keep_passing
from consumers.stripe.plans import PlansKeeper
from consumers.stripe.poll import Poll
from consumers.stripe.settle import keep_settled
from consumers.stripe.sweep import Sweep
from consumers.usage import USAGE_FOLD
from consumers.webhooks import Poster
from events import broker
from events.ending import end
from events.plans_file import PlansFile
from events.pull import Pull
from ledger.ages import Retention
from ledger.db import Pool, create_pool
from ledger.stripe.api import StripeApi, livemode
from ledger.stripe.passes import POLL, SWEEP

log = structlog.get_logger()

CLOSE_S: Final = 2  # for what is closed to say goodbye


class App:
    """Folds and reconciles until it is told to stop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._plans = PlansFile(Path(settings.plans_file) if settings.plans_file else None)
        self._connection = broker.EncryptingClient()
        self._pulls: list[Pull] = []
        self._stopping = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop`, then finish the batches in hand within the drain time.

        Waits for NATS and PostgreSQL where they are away, at the start and later.
        """
        if self._settings.metrics_address:
            metrics.serve(self._settings.metrics_address)
        async with asyncio.TaskGroup() as tasks:
            work = tasks.create_task(self._work())
            await stop.wait()
            log.info("consumers_stopping")
            self._stopping.set()
            for pull in self._pulls:
                pull.stop()
            if self._pulls:
                await asyncio.wait([work], timeout=self._settings.drain_s)
            await end([work])
        log.info("consumers_stopped")

    async def _work(self) -> None:
        poster = Poster(inside=self._settings.webhooks_inside)
        journal = stripe_journal(self._plans, live=livemode(self._settings.stripe_api_key))
        consumers: list[Consumer[Any] | Hooks] = [
            *[USAGE_FOLD] * self._settings.usage_workers,
            *[journal] * self._settings.stripe_workers,
            budget_webhooks(poster),
            job_webhooks(poster),
        ]
        # of the relay, audit, retention, plans, poll, sweep, customers, metering; two of settling;
        # and a few more for webhooks, which are looked up side by side
        connections = len(consumers) + 16
        async with (
            _pool(self._settings.database_url, maximum=connections) as pool,
            _stripe(self._settings) as stripe,
        ):
            try:  # a stop may come before there is a connection, and leave half of one
                await broker.connect(
                    self._settings.nats_url,
                    "tollgate-consumers",
                    client=self._connection,
                    on_reconnect=self._renew,
                )
                await self._consume(consumers, pool, stripe)
            finally:
                await self._disconnect()

    async def _consume(
        self, consumers: Sequence[Consumer[Any] | Hooks], pool: Pool, stripe: StripeApi | None
    ) -> None:
        log.info("consumers_started", workers=len(consumers))
        async with asyncio.TaskGroup() as tasks:
            for consumer in consumers:
                pull = consumer.pull(self._connection, linger_s=self._settings.linger_s)
                self._pulls.append(pull)
                tasks.create_task(consumer.work(self._connection, pool, pull))
            tasks.create_task(keep_clear(self._connection, self._stopping))
            tasks.create_task(Relay(self._connection, pool).work(self._stopping))
            retention = Retention(self._settings.usage_retention_days)
            tasks.create_task(keep_retention(pool, retention, self._stopping))
            tasks.create_task(PlansKeeper(pool, self._plans).work(self._stopping))
            if self._settings.audit_s:
                auditing = keep_audited(
                    self._connection,
                    pool,
                    self._stopping,
                    every_s=self._settings.audit_s,
                    kept=retention.kept,
                    stripe=stripe,
                )
                tasks.create_task(auditing)
            if stripe:
                tasks.create_task(self._ask_stripe(pool, stripe))

    async def _ask_stripe(self, pool: Pool, stripe: StripeApi) -> None:
        settings, stop = self._settings, self._stopping
        poll, sweep = Poll(stripe, self._connection), Sweep(stripe, self._plans)
        turns = (
            Turns(POLL, poll.run, settings.stripe_poll_s),
            Turns(SWEEP, sweep.run, settings.stripe_sweep_s),
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(keep_settled(pool, stripe, self._plans, stop))
            tasks.create_task(keep_customers(pool, stripe, self._plans, stop))
            tasks.create_task(keep_passing(turns, pool, stop))
            if settings.stripe_meter_s and settings.plans_file:
                file = Path(settings.plans_file)
                metering = keep_metered(pool, stripe, file, stop, every_s=settings.stripe_meter_s)
                tasks.create_task(metering)

    async def _renew(self) -> None:
        for pull in self._pulls:
            pull.renew()

    async def _disconnect(self) -> None:
        if self._connection.is_connected:
            with contextlib.suppress(Error, TimeoutError):
                await self._connection.flush(CLOSE_S)  # the last acknowledgements
        await self._connection.close()


@asynccontextmanager
async def _pool(url: str, *, maximum: int) -> AsyncIterator[Pool]:
    pool = await create_pool(url, maximum=maximum)
    try:
        yield pool
    finally:
        try:
            async with asyncio.timeout(CLOSE_S):
                await pool.close()
        except TimeoutError:
            pool.terminate()


@asynccontextmanager
async def _stripe(settings: Settings) -> AsyncIterator[StripeApi | None]:
    """Stripe, for all who ask it: they share one pace; None where no key is set."""
    if not settings.stripe_api_key:
        yield None
        return
    api = StripeApi(
        settings.stripe_api_key,
        settings.stripe_api_base,
        per_second=settings.stripe_requests_per_second,
    )
    try:
        yield api
    finally:
        await api.close()


def create_app(settings: Settings) -> App:
    """The consumers, not yet connected to anything."""
    return App(settings)
