"""Tells customers of their budgets, by webhook."""

from collections.abc import Sequence

from msgspec import Struct
from nats.aio.msg import Msg

from consumers.consumer import Consumer
from consumers.webhooks import RETRIES_S, Poster, Posting
from events import budgets, streams
from events.budgets import BudgetReached
from ledger.budgets import find_webhook
from ledger.db import Pool, acquire


class _Alert(Struct, frozen=True):
    event: BudgetReached
    id: str
    body: bytes
    attempt: int


def _decode(message: Msg) -> _Alert:
    sequence = message.metadata.sequence.stream
    return _Alert(
        event=budgets.decode(message.data),
        id=f"budget_{sequence}_{int(message.metadata.timestamp.timestamp())}",
        body=message.data,
        attempt=message.metadata.num_delivered,
    )


def budget_webhooks(poster: Poster) -> Consumer[_Alert]:
    """What posts them to their accounts' webhooks."""

    async def post(pool: Pool, alerts: Sequence[_Alert]) -> None:
        for alert in alerts:
            async with acquire(pool) as connection:
                webhook = await find_webhook(connection, alert.event.account_id)
            if webhook is not None:
                await poster.post(
                    Posting(
                        url=webhook.url,
                        secret=webhook.secret,
                        id=alert.id,
                        body=alert.body,
                        attempt=alert.attempt,
                    )
                )

    return Consumer(
        stream=streams.BUDGETS,
        config=streams.budget_webhooks(),
        batch=1,
        decode=_decode,
        write=post,
        retries_s=RETRIES_S,
    )
