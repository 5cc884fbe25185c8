"""Endpoints are declarations: what a route is, on whose behalf, through which doors.

A module in `edge/endpoints/` states one constant, `endpoint`. The frame does the rest
for all of them alike: authentication, validation both ways, metering, errors, metrics,
documentation.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from enum import StrEnum
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType
from typing import Any, Final

from litestar.connection import ASGIConnection
from litestar.handlers import HTTPRouteHandler
from litestar.handlers.base import BaseRouteHandler
from litestar.types import Guard
from msgspec import Struct

from edge import auth
from edge.errors import EdgeError, NotInScope
from edge.examples import Example
from edge.openai.dialect import OpenAIDialect
from edge.settings import Settings
from events.tasks import Task


class Perspective(StrEnum):
    """On whose behalf an endpoint acts; it decides who may call it."""

    PUBLIC = "public"  # nobody's: it tells what anybody may know
    APPLICATION = "application"  # an account's, by API key
    MEMBER = "member"  # a person's who signed in to the dashboard
    ADMIN = "admin"  # the operator's, by admin token
    INFRASTRUCTURE = "infrastructure"  # a probe's or a scraper's, inside our own walls


class Service(StrEnum):
    """A door. An endpoint is reachable through those that it names, and no others."""

    API = "api"
    DASHBOARD = "dashboard"
    INTERNAL = "internal"
    WEBHOOKS = "webhooks"


Public: Final = Perspective.PUBLIC
Application: Final = Perspective.APPLICATION
Admin: Final = Perspective.ADMIN
Infrastructure: Final = Perspective.INFRASTRUCTURE

API: Final = Service.API
INTERNAL: Final = Service.INTERNAL
WEBHOOKS: Final = Service.WEBHOOKS

JSON: Final = "application/json"
HTML: Final = "text/html"


class Endpoint(Struct, frozen=True, kw_only=True):
    """One route and what is said about it."""

    name: str
    description: str
    perspective: Perspective
    services: Collection[Service]
    path: str
    method: str
    any_scope: bool = False  # whether keys open it that are only for some models or tasks
    task: Task | None = None  # an inference endpoint has a task,
    dialect: OpenAIDialect[Any] | None = (
        None  # one of OpenAI's has its dialect, and any other a handler
    )
    handler: Callable[..., Any] | None = None
    operation: Mapping[str, Any] | None = None  # or, as OpenAPI has it, what `Front` answers itself
    status_code: int = 200
    raises: Collection[type[EdgeError]] = ()  # besides what the frame refuses
    media_types: Sequence[str] = (JSON,)  # of a success
    also: Mapping[int, str] = {}  # other successes, whose bodies are empty: what they mean
    example: Example | None = None  # of what to send; a task brings its own

    @property
    def asks(self) -> Task | None:
        """The task that models are asked for, in whatever dialect."""
        return self.task if self.dialect is None else self.dialect.task

    @property
    def streams(self) -> bool:
        """Whether its answer can be had piece by piece."""
        spoken = self.task if self.dialect is None else self.dialect
        return spoken is not None and spoken.piece is not None

    def status(self, ours: int) -> int:
        """What it answers where our own routes answer `ours`: a dialect may have another status."""
        return ours if self.dialect is None else self.dialect.status(ours)


def inference(
    *,
    task: Task,
    description: str,
    perspective: Perspective,
    services: Collection[Service],
) -> Endpoint:
    """Declare that callers may ask models for `task`: POST /v1/{model}/{task}."""
    return Endpoint(
        name=task.name,
        description=description,
        perspective=perspective,
        services=services,
        path=f"/v1/{{model}}/{task.name}",
        method="POST",
        task=task,
    )


def spoken(
    dialect: OpenAIDialect[Any],
    path: str,
    *,
    description: str,
    perspective: Perspective,
    services: Collection[Service],
) -> Endpoint:
    """Declare that callers may ask models in another dialect than ours, by a path of its own."""
    return Endpoint(
        name=dialect.label,
        description=description,
        perspective=perspective,
        services=services,
        path=path,
        method="POST",
        dialect=dialect,
    )


def route(
    method: str,
    path: str,
    handler: Callable[..., Any],
    *,
    description: str,
    perspective: Perspective,
    services: Collection[Service],
    any_scope: bool = False,
    status_code: int = 200,
    raises: Collection[type[EdgeError]] = (),
    media_types: Sequence[str] = (JSON,),
    also: Mapping[int, str] = MappingProxyType({}),
    example: Example | None = None,
) -> Endpoint:
    """Declare a route with a handler of its own.

    Args:
        method: As in HTTP, in capitals.
        path: In Litestar's form, as ``/v1/admin/keys/{key_id:str}``.
        handler: An async function. Litestar reads its annotations: what comes in is
            validated by them, what it returns is documented by them.
        description: For the documentation: what a caller gets from it.
        perspective: On whose behalf. An ``Application`` handler may ask for `caller`.
        services: The doors through which it is reachable.
        any_scope: Whether a key with a scope opens it, whatever the scope. It may be in a
            page that everybody reads: only for what harms nobody who shares the account.
        status_code: Of a success.
        raises: The errors that the handler answers with, for the documentation; what the
            frame refuses for all handlers (`edge/refusals.py`) is not among them.
        media_types: Of a success, likewise.
        also: Other successes, whose bodies are empty, and what each of them means.
        example: What to send, so that it works when pasted. What takes a body needs one.
    """
    return Endpoint(
        name=handler.__name__,
        description=description,
        perspective=perspective,
        services=services,
        path=path,
        method=method,
        any_scope=any_scope,
        handler=handler,
        status_code=status_code,
        raises=raises,
        media_types=media_types,
        also=also,
        example=example,
    )


def raw(
    name: str,
    path: str,
    operation: Mapping[str, Any],
    *,
    description: str,
    perspective: Perspective,
    services: Collection[Service],
    status_code: int,
    raises: Collection[type[EdgeError]],
    example: Example,
) -> Endpoint:
    """Declare a POST that `edge.front.Front` answers itself, since Litestar would cost more.

    Args:
        name: What the metrics call it.
        path: In full.
        operation: What it takes and gives, as OpenAPI describes an operation.
        description: As `route` has it, and so the rest.
        perspective: On whose behalf.
        services: The doors through which it is reachable.
        status_code: Of a success.
        raises: The errors that it answers with.
        example: What to send.
    """
    return Endpoint(
        name=name,
        description=description,
        perspective=perspective,
        services=services,
        path=path,
        method="POST",
        operation=operation,
        status_code=status_code,
        raises=raises,
        example=example,
    )


def declared(services: Collection[Service]) -> Sequence[Endpoint]:
    """Every endpoint of `edge/endpoints/` that is reachable through one of `services`."""
    package = import_module("edge.endpoints")
    names = sorted(found.name for found in iter_modules(package.__path__))
    modules = [import_module(f"{package.__name__}.{name}") for name in names]
    endpoints: list[Endpoint] = [module.endpoint for module in modules]
    return [endpoint for endpoint in endpoints if set(endpoint.services) & set(services)]


def handler_of(endpoint: Endpoint, *, keys: auth.Keys, settings: Settings) -> HTTPRouteHandler:
    """The Litestar handler of an endpoint that has a function of its own."""
    assert endpoint.handler is not None
    return HTTPRouteHandler(
        endpoint.path,
        http_method=endpoint.method,  # type: ignore[arg-type] # a plain string will do
        name=endpoint.name,
        operation_id=endpoint.name,
        summary=endpoint.name.replace("_", " ").capitalize(),
        description=endpoint.description,
        status_code=endpoint.status_code,
        media_type=endpoint.media_types[0],
        guards=_guards(endpoint, keys=keys, settings=settings),
        opt={"endpoint": endpoint.name},
    )(endpoint.handler)


def _guards(endpoint: Endpoint, *, keys: auth.Keys, settings: Settings) -> list[Guard]:
    async def by_key(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        authorization = connection.headers.get("authorization")
        caller = await keys.authenticate(authorization)
        if caller.key.scope and not endpoint.any_scope:
            only = ", ".join(caller.key.scope)
            message = f"key {caller.key.id} is only for: {only}; send one that has no scope"
            raise NotInScope(message)
        connection.scope["auth"] = caller

    def by_admin_token(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        auth.require_admin(connection.headers.get("authorization"), settings.admin_token)

    match endpoint.perspective:
        case Perspective.PUBLIC | Perspective.INFRASTRUCTURE:
            return []
        case Perspective.APPLICATION:
            return [by_key]
        case Perspective.ADMIN:
            return [by_admin_token]
        case Perspective.MEMBER:
            raise NotImplementedError("nobody can sign in yet: there is no dashboard")
