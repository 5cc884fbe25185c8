"""The edge, put together: the one place that constructs what it is made of."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import structlog
from litestar import Litestar, Request
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.types import ASGIApp

from edge import endpoint as frame
from edge.accounts import Accounts
from edge.admission import Admission
from edge.admission.counters import Counters
from edge.auth import Keys
from edge.catalogue import Catalogue
from edge.cors import Cors
from edge.documentation.files import files_route
from edge.documentation.pages import Pages
from edge.documentation.place import read_place
from edge.documentation.templating import templates
from edge.exceptions import EXCEPTIONS
from edge.execution import Execution
from edge.failures import Failures
from edge.front import Front
from edge.gate import GateRoute, read_gates
from edge.idempotency import Idempotency
from edge.jobs.intake import Intake as JobIntake
from edge.jobs.records import Records
from edge.jobs.runner import Runner
from edge.jobs.store import JobStore
from edge.metering import Meter
from edge.openapi import describe
from edge.plans import RunningPlans
from edge.receipts import Receipts
from edge.reports import read_asked
from edge.request import Request as EdgeRequest
from edge.route import InferenceRoute
from edge.server.connections import Connections
from edge.settings import Settings
from edge.stripe.billing import Billing
from edge.stripe.intake import Intake
from edge.tally import Tally
from edge.workers import Workers
from events import broker, streams
from events.direct import Direct
from events.ending import end
from events.models import read_models
from events.receipts import read_signing_keys
from ledger.db import create_pool

log = structlog.get_logger()

STREAMS: Final = (
    streams.USAGE,
    streams.STRIPE,
    streams.MODELS,
    streams.ACCOUNTS,
    streams.RATES,
    streams.LIMITS,
    streams.QUOTAS,
    streams.IDEMPOTENCY,
    streams.EDGES,
    streams.JOBS,
    streams.RESULTS,
)
HOLD_SLACK_S: Final = 10.0


def create_app(settings: Settings) -> ASGIApp:
    """The edge as an ASGI application; it connects when its lifespan starts."""
    services = [name.strip() for name in settings.services.split(",") if name.strip()]
    endpoints = frame.declared([frame.Service(name) for name in services])

    client = broker.EncryptingClient()
    pool = create_pool(settings.database_url)
    direct = Direct(client)
    accounts = Accounts(client, direct, pool)
    keys = Keys(accounts, settings.key_secret)
    plans = RunningPlans(Path(settings.plans_file) if settings.plans_file else None)
    # a request is held for as long as it may run, be metered, and find a worker before
    hold_s = settings.deadline_s + settings.publish_timeout_s + HOLD_SLACK_S
    admission = Admission(client, direct, pool, plans, hold_s=hold_s)
    idempotency = Idempotency(client, direct, claim_s=hold_s)
    catalogue = Catalogue(
        client, direct, read_models(Path(settings.models_file)) if settings.models_file else {}
    )
    workers = Workers(
        client,
        retry_s=settings.retry_s,
        max_wait_s=settings.max_wait_s,
        max_waiting=settings.max_waiting,
        serving=catalogue.serving,
    )
    meter = Meter(client, publish_timeout_s=settings.publish_timeout_s)
    intake = Intake(
        client,
        secrets=settings.stripe_webhook_secrets,
        max_body_bytes=settings.max_body_bytes,
        patience_s=settings.publish_timeout_s,
    )
    records = Records(client, direct)
    jobs = JobStore(
        records,
        patience_s=settings.publish_timeout_s,
        most_jobs=settings.open_jobs,
        most_bytes=settings.open_job_bytes,
    )
    tally = Tally(client, meter)
    failures = Failures(meter, every_s=settings.failures_s)
    receipts = Receipts(
        pool, read_signing_keys(settings.receipt_keys), issuer=settings.receipt_issuer
    )
    billing = Billing(settings, pool, plans, Counters(client, direct))
    route = InferenceRoute(
        endpoints=endpoints,
        keys=keys,
        catalogue=catalogue,
        admission=admission,
        idempotency=idempotency,
        intake=JobIntake(jobs, idempotency, pool, settings),
        execution=Execution(
            admission,
            workers,
            meter,
            deadline_s=settings.deadline_s,
            stream_s=settings.stream_s,
        ),
        failures=failures,
        max_body_bytes=settings.max_body_bytes,
    )
    runner = Runner(client, records, route.run, at_once=settings.jobs_at_once)
    connections = Connections(settings)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        catch_up = partial(_catch_up, accounts, catalogue, runner)
        await broker.connect(
            settings.nats_url, "tollgate-edge", client=client, on_reconnect=catch_up
        )
        try:
            await streams.require(client, *STREAMS)
            for part in (direct, workers, catalogue, accounts):
                await part.start()
            async with pool, asyncio.TaskGroup() as tasks:
                forever = [
                    tasks.create_task(work)
                    for work in (
                        workers.watch(),
                        accounts.watch(),
                        accounts.look_up(),
                        keys.note_use(pool),
                        plans.watch(),
                        admission.run(),
                        failures.run(),
                        tally.run(),
                        intake.run(),
                        jobs.settle_doubts(),
                        idempotency.run(),
                        connections.watch(),
                    )
                ]
                metering = tasks.create_task(meter.run())
                running = tasks.create_task(runner.work())
                for task in (metering, running, *forever):
                    task.add_done_callback(_die_with)
                log.info("edge_ready", epoch=str(meter.epoch), services=services)
                yield
                runner.stop()
                await _settle(
                    {running}, failures, meter, metering, within_s=settings.publish_timeout_s
                )
                await tally.tell()
                await admission.give_up()
                await end([running, *forever])
        finally:
            await client.close()

    dependencies: dict[str, Any] = {
        "settings": settings,
        "pool": pool,
        "plans": plans,
        "billing": billing,
        "admission": admission,
        "catalogue": catalogue,
        "receipts": receipts,
        "jobs": jobs,
        "nats_client": client,
    }
    app = Litestar(
        route_handlers=[
            *[
                frame.handler_of(endpoint, keys=keys, settings=settings)
                for endpoint in endpoints
                if endpoint.handler
            ],
            files_route(),
        ],
        lifespan=[lifespan, billing.running],
        dependencies={
            **{name: _always(value) for name, value in dependencies.items()},
            "openapi": Provide(lambda: pages.document, sync_to_thread=False),
            "pages": Provide(lambda: pages, sync_to_thread=False),
            "place": Provide(read_place),
            "caller": Provide(_caller, sync_to_thread=False),
            "asked": Provide(read_asked),
        },
        exception_handlers=EXCEPTIONS,
        openapi_config=OpenAPIConfig("Tollgate", "1", path="/litestar", render_plugins=[]),
        template_config=templates(settings.root_path),
        request_class=EdgeRequest,
        request_max_body_size=settings.max_body_bytes,
        logging_config=None,
    )
    pages = Pages(endpoints, describe(app, endpoints, root_path=settings.root_path))
    # what a proxy says is believed: only inside our own walls
    gate = GateRoute(
        read_gates(Path(settings.gates_file)) if settings.gates_file else [],
        keys=keys,
        admission=admission,
        meter=meter,
        failures=failures,
    )
    return Front(
        route,
        gate if frame.INTERNAL in services else None,
        intake if frame.WEBHOOKS in services else None,
        app,
        cors=Cors(settings.cors_origins),
        connections=connections,
    )


async def _catch_up(accounts: Accounts, catalogue: Catalogue, runner: Runner) -> None:
    """Hear what was said while the broker was away."""
    await accounts.catch_up()
    await catalogue.catch_up()
    runner.renew()


async def _settle(
    ending: set[asyncio.Task[None]],
    failures: Failures,
    meter: Meter,
    metering: asyncio.Task[None],
    *,
    within_s: float,
) -> None:
    """Have all that is to be stated stored, before an edge leaves; `ending` may state some."""
    await asyncio.wait(ending, timeout=within_s)
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await failures.state()
    meter.close()
    await asyncio.wait({metering}, timeout=within_s)
    if not metering.done():
        meter.abandon()


def _die_with(task: asyncio.Task[None]) -> None:
    """An edge that cannot meter, or admit, must not answer: end the process, and be replaced."""
    if not task.cancelled() and (error := task.exception()):
        log.critical("task_died", exc_info=error)
        signal.raise_signal(signal.SIGTERM)


def _always(value: Any) -> Provide:  # noqa: ANN401 - whatever a handler may depend on
    return Provide(lambda: value, sync_to_thread=False)


def _caller(request: Request[Any, Any, Any]) -> Any:  # noqa: ANN401 - a Caller, set by the guard
    return request.scope["auth"]
