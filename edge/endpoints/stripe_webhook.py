"""Stripe's webhooks: verified, stored, answered; nothing else happens in the request."""

from typing import Annotated, Any

from litestar import Request
from litestar.di import NamedDependency
from litestar.params import HeaderParameter

from edge.asgi import read_body
from edge.endpoint import WEBHOOKS, Public, route
from edge.errors import BadSignature, BodyTooLarge, CompressedBody, NotStored
from edge.examples import Example
from edge.intake import Intake


async def receive_stripe_event(
    request: Request[Any, Any, Any],
    intake: NamedDependency[Intake],  # the only one: each further one costs Litestar a task
    signature: Annotated[str | None, HeaderParameter(name="Stripe-Signature")] = None,
) -> None:
    """Store one signed event in JetStream, then answer 202.

    Raises:
        BadSignature: answered 400; nothing is stored.
        BodyTooLarge: answered 413, and unread: it is more than the broker takes.
        NotStored: answered 503, so Stripe sends it again.
    """
    body = await read_body(request.scope, request.receive, intake.max_body_bytes)
    await intake.take(body, signature)


endpoint = route(
    "POST",
    "/webhooks/stripe",
    receive_stripe_event,
    description="Takes Stripe's signed events. Durable before the answer.",
    perspective=Public,  # the signature says who it is
    services={WEBHOOKS},
    status_code=202,
    raises={BadSignature, BodyTooLarge, CompressedBody, NotStored},
    example=Example(body="$STRIPE_EVENT", headers={"Stripe-Signature": "$STRIPE_SIGNATURE"}),
)
