"""Stripe's webhooks: verified, stored, answered; nothing else happens in the request."""

import asyncio
import time
from typing import Annotated, Any, Final

from litestar import Request
from litestar.di import NamedDependency
from litestar.params import HeaderParameter
from nats.aio.client import Client

from edge.asgi import read_body
from edge.endpoint import WEBHOOKS, Public, route
from edge.errors import BadSignature, NotStored
from edge.intake import Intake
from edge.settings import Settings
from edge.signature import verify

HEADERS_BYTES: Final = 1_024  # of the broker's largest message: what goes around a body


async def receive_stripe_event(
    request: Request[Any, Any, Any],
    intake: NamedDependency[Intake],
    nats_client: NamedDependency[Client],
    settings: NamedDependency[Settings],
    signature: Annotated[str | None, HeaderParameter(name="Stripe-Signature")] = None,
) -> None:
    """Store one signed event in JetStream, then answer 202.

    Raises:
        BadSignature: answered 400; nothing is stored.
        BodyTooLarge: answered 413, and unread: it is more than the broker takes.
        NotStored: answered 503, so Stripe sends it again.
    """
    secrets = [secret.strip() for secret in settings.stripe_webhook_secrets.split(",")]
    secrets = [secret for secret in secrets if secret]
    if not secrets:
        raise BadSignature("no signing secret is configured: set TOLLGATE_STRIPE_WEBHOOK_SECRETS")
    limit = min(settings.max_body_bytes, nats_client.max_payload - HEADERS_BYTES)
    body = await read_body(request.scope, request.receive, limit)
    verify(body, signature, secrets, now=time.time())
    try:
        async with asyncio.timeout(settings.publish_timeout_s):
            await intake.store(body)
    except TimeoutError as error:
        raise NotStored("the event could not be stored; send it again", retry_after_s=1) from error


endpoint = route(
    "POST",
    "/webhooks/stripe",
    receive_stripe_event,
    description="Takes Stripe's signed events. Durable before the answer.",
    perspective=Public,  # the signature says who it is
    services={WEBHOOKS},
    status_code=202,
)
