"""Tells customers of their budgets, by webhook.

Source: Standard Webhooks 1.0, https://www.standardwebhooks.com
"""

import base64
import hashlib
import hmac
import time
from collections.abc import Sequence
from typing import Final

import httpx
import structlog
from msgspec import Struct
from nats.aio.msg import Msg

from consumers.consumer import Consumer
from consumers.errors import NotDelivered, Undeliverable
from events import budgets, streams
from events.budgets import BudgetReached
from ledger.budgets import Webhook, find_webhook
from ledger.db import Pool, acquire

log = structlog.get_logger()

POST_S: Final = 10.0
RETRIES_S: Final = (5.0, 60.0, 300.0, 1_800.0, 3_600.0)  # the last one from then on
ATTEMPTS: Final = 72  # three days, or nearly


class _Posting(Struct, frozen=True):
    event: BudgetReached
    id: str  # the same at each attempt
    body: bytes
    attempt: int


def _decode(message: Msg) -> _Posting:
    sequence = message.metadata.sequence.stream
    return _Posting(
        event=budgets.decode(message.data),
        id=f"budget_{sequence}_{int(message.metadata.timestamp.timestamp())}",
        body=message.data,
        attempt=message.metadata.num_delivered,
    )


async def _post(pool: Pool, postings: Sequence[_Posting]) -> None:
    for posting in postings:
        async with acquire(pool) as connection:
            webhook = await find_webhook(connection, posting.event.account_id)
        if webhook is not None:
            await _deliver(webhook, posting)


async def _deliver(webhook: Webhook, posting: _Posting) -> None:
    try:
        async with httpx.AsyncClient(timeout=POST_S, follow_redirects=False) as client:
            answer = await client.post(
                webhook.url,
                content=posting.body,
                headers=signed(webhook.secret, posting.id, posting.body, int(time.time())),
            )
        reason = f"it answered {answer.status_code}"
        if answer.is_success:
            log.info("webhook_delivered", id=posting.id, attempt=posting.attempt)
            return
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = repr(error)
    if posting.attempt >= ATTEMPTS:
        raise Undeliverable(f"given up after {posting.attempt} attempts: {reason}")
    raise NotDelivered(reason)


def signed(secret: str, id: str, body: bytes, timestamp: int) -> dict[str, str]:  # noqa: A002
    """The headers by which a receiver knows that a webhook is ours, and new."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = b".".join((id.encode(), str(timestamp).encode(), body))
    signature = base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()
    return {
        "content-type": "application/json",
        "webhook-id": id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{signature}",
    }


BUDGET_WEBHOOKS: Final = Consumer(
    stream=streams.BUDGETS,
    config=streams.budget_webhooks(),
    batch=1,
    decode=_decode,
    write=_post,
    retries_s=RETRIES_S,
)
