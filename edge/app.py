"""The edge, put together: the one place that constructs what it is made of."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import structlog
from litestar import Litestar, Request, Response
from litestar.di import Provide
from litestar.exceptions import (
    HTTPException,
    MethodNotAllowedException,
    NotFoundException,
    ValidationException,
)
from litestar.openapi import OpenAPIConfig
from litestar.static_files import create_static_files_router
from litestar.types import ASGIApp
from nats.aio.client import Client

from edge import endpoint as frame
from edge import problem
from edge.accounts import Accounts
from edge.admission import Admission
from edge.auth import Keys
from edge.billing import Billing
from edge.catalogue import Catalogue
from edge.errors import (
    EdgeError,
    Internal,
    InvalidParameter,
    LedgerAway,
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
)
from edge.failures import Failures
from edge.front import Front
from edge.gate import GateRoute, read_gates
from edge.idempotency import Idempotency
from edge.intake import Intake
from edge.metering import Meter
from edge.openapi import describe
from edge.plans import RunningPlans
from edge.receipts import Receipts
from edge.reports import read_asked
from edge.route import InferenceRoute
from edge.settings import Settings
from edge.tally import Tally
from edge.workers import Workers
from events import broker, streams
from events.direct import Direct
from events.models import read_models
from events.receipts import read_signing_keys
from ledger.db import create_pool
from ledger.errors import LedgerUnavailable, UnknownAccount

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
)
HOLD_SLACK_S: Final = 10.0


def create_app(settings: Settings) -> ASGIApp:
    """The edge as an ASGI application; it connects when its lifespan starts."""
    services = [name.strip() for name in settings.services.split(",") if name.strip()]
    endpoints = frame.declared([frame.Service(name) for name in services])

    client = Client()
    pool = create_pool(settings.database_url)
    direct = Direct(client)
    accounts = Accounts(client, direct, pool)
    keys = Keys(accounts, settings.key_secret)
    declared = read_models(Path(settings.models_file)) if settings.models_file else {}
    plans = RunningPlans(Path(settings.plans_file) if settings.plans_file else None)
    # a request is held for as long as it may run, be metered, and find a worker before
    hold_s = settings.deadline_s + settings.publish_timeout_s + HOLD_SLACK_S
    admission = Admission(client, direct, pool, plans, hold_s=hold_s)
    idempotency = Idempotency(client, direct, claim_s=hold_s)
    catalogue = Catalogue(client, direct, declared)
    workers = Workers(client, retry_s=settings.retry_s, max_waiting=settings.max_waiting)
    meter = Meter(client, publish_timeout_s=settings.publish_timeout_s)
    intake = Intake(
        client,
        secrets=settings.stripe_webhook_secrets,
        max_body_bytes=settings.max_body_bytes,
        patience_s=settings.publish_timeout_s,
    )
    tally = Tally(client, meter)
    failures = Failures(meter, every_s=settings.failures_s)
    receipts = Receipts(
        pool, read_signing_keys(settings.receipt_keys), issuer=settings.receipt_issuer
    )
    billing = Billing(settings, pool, plans)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        async def catch_up() -> None:
            await accounts.catch_up()
            await catalogue.catch_up()

        await broker.connect(
            settings.nats_url, "tollgate-edge", client=client, on_reconnect=catch_up
        )
        try:
            await streams.require(client, *STREAMS)
            await direct.start()
            await workers.start()
            await catalogue.start()
            await accounts.start()
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
                    )
                ]
                metering = tasks.create_task(meter.run())
                for task in (metering, *forever):
                    task.add_done_callback(_die_with)
                log.info("edge_ready", epoch=str(meter.epoch), services=services)
                yield
                await _settle(failures, meter, metering, settings.publish_timeout_s)
                await tally.tell()
                await admission.give_up()
                for task in forever:
                    task.cancel()
        finally:
            await client.close()

    route = InferenceRoute(
        endpoints=endpoints,
        keys=keys,
        catalogue=catalogue,
        admission=admission,
        idempotency=idempotency,
        workers=workers,
        meter=meter,
        failures=failures,
        deadline_s=settings.deadline_s,
        stream_s=settings.stream_s,
        max_body_bytes=settings.max_body_bytes,
    )
    dependencies: dict[str, Any] = {
        "settings": settings,
        "pool": pool,
        "plans": plans,
        "billing": billing,
        "admission": admission,
        "catalogue": catalogue,
        "receipts": receipts,
        "intake": intake,
        "nats_client": client,
    }
    app = Litestar(
        route_handlers=[
            *[
                frame.handler_of(endpoint, keys=keys, settings=settings)
                for endpoint in endpoints
                if endpoint.handler
            ],
            _assets(),
        ],
        lifespan=[lifespan, billing.running],
        dependencies={
            **{name: _always(value) for name, value in dependencies.items()},
            "openapi": Provide(lambda: document, sync_to_thread=False),
            "caller": Provide(_caller, sync_to_thread=False),
            "asked": Provide(read_asked),
        },
        exception_handlers=EXCEPTIONS,
        openapi_config=OpenAPIConfig("Tollgate", "1", path="/litestar", render_plugins=[]),
        request_max_body_size=settings.max_body_bytes,
        logging_config=None,
    )
    document = describe(app, endpoints, root_path=settings.root_path)
    # what a proxy says is believed: only inside our own walls
    gates = read_gates(Path(settings.gates_file)) if settings.gates_file else []
    gate = GateRoute(gates, keys=keys, admission=admission, meter=meter, failures=failures)
    return Front(route, gate if frame.INTERNAL in services else None, app)


async def _settle(
    failures: Failures, meter: Meter, metering: asyncio.Task[None], within_s: float
) -> None:
    """Have all that is to be stated stored, before an edge leaves."""
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


def _assets() -> Any:  # noqa: ANN401 - a router
    """Swagger UI's files; they come in a package that need not be importable."""
    found = find_spec("drf_spectacular_sidecar")
    assert found is not None, "artifacts.txt is not installed; run `make setup`"
    assert found.origin is not None
    files = Path(found.origin).parent / "static/drf_spectacular_sidecar/swagger-ui-dist"
    return create_static_files_router(
        "/docs/assets", directories=[files], include_in_schema=False, name="assets"
    )


# --- what went wrong, as one shape --------------------------------------------------


def _answer_error(request: Request[Any, Any, Any], error: EdgeError) -> Response[bytes]:
    request_id = request.scope["state"]["request_id"]
    return Response(
        problem.body(error, request_id),
        status_code=error.status,
        media_type=problem.MEDIA_TYPE,
        headers={key.decode(): value.decode() for key, value in problem.headers(error)},
    )


def _not_found(request: Request[Any, Any, Any], _: Exception) -> Response[bytes]:
    return _answer_error(request, NotFound("there is no such route; see /docs"))


def _method_not_allowed(request: Request[Any, Any, Any], _: Exception) -> Response[bytes]:
    return _answer_error(request, MethodNotAllowed("see /docs for the methods of this route"))


def _invalid(request: Request[Any, Any, Any], error: ValidationException) -> Response[bytes]:
    found = error.extra if isinstance(error.extra, list) else []
    first: dict[str, Any] = found[0] if found and isinstance(found[0], dict) else {}
    param = _query_name(request, first.get("key"))
    said = first.get("message", error.detail)
    message = f"{param}: {said}" if param else str(said)
    return _answer_error(request, InvalidParameter(message, param=param))


def _query_name(request: Request[Any, Any, Any], argument: str | None) -> str | None:
    """What the caller calls a handler's argument: `from` is no name for one in Python."""
    handler = request.route_handler
    functions: list[Any] = [handler, *handler.resolve_dependencies().values()]
    for function in functions:
        field = function.parsed_fn_signature.parameters.get(argument or "")
        if name := getattr(field and field.kwarg_definition, "name", None):
            return str(name)
    return argument


def _http(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    if error.status_code < 500:  # noqa: PLR2004 - the line between their fault and ours
        return _answer_error(request, MalformedRequest(error.detail))
    return _unforeseen(request, error)


def _ledger_away(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    log.error("ledger_unavailable", error=repr(error))
    message = "the ledger cannot be reached right now; try again"
    return _answer_error(request, LedgerAway(message, retry_after_s=1))


def _unknown_account(request: Request[Any, Any, Any], error: UnknownAccount) -> Response[bytes]:
    return _answer_error(request, NotFound(str(error)))


def _unforeseen(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    log.error(
        "unforeseen",
        request_id=str(request.scope["state"]["request_id"]),
        path=request.scope["path"],
        exc_info=error,
    )
    return _answer_error(request, Internal("something broke; quote the request id to us"))


EXCEPTIONS: Any = {
    EdgeError: _answer_error,
    NotFoundException: _not_found,
    MethodNotAllowedException: _method_not_allowed,
    ValidationException: _invalid,
    HTTPException: _http,
    LedgerUnavailable: _ledger_away,
    UnknownAccount: _unknown_account,
    Exception: _unforeseen,
}
