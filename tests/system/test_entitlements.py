"""A webhook changes what every edge enforces, and no request waits for Stripe."""

from pathlib import Path

from nats.aio.client import Client

from ledger.db import Connection
from tests.system.subscribing import Subscriber, Subscribing, subscribing
from tests.waiting import until


async def _until_all_answer(four: Subscribing, subscriber: Subscriber, status: int) -> None:
    async def they_do() -> bool:
        answers = [await four.answers(edge, subscriber) for edge in four.fleet.edges]
        return answers == [status] * len(answers)

    await until(they_do)


async def test_a_webhook_changes_the_limit_on_every_edge(
    nats: Client, nats_url: str, database_url: str, ledger: Connection, tmp_path: Path
) -> None:
    async with subscribing(nats, nats_url, database_url, ledger, tmp_path) as four:
        ada, bob = [await four.subscriber() for _ in range(2)]
        await _until_all_answer(four, ada, 429)  # all know her, and refuse
        await _until_all_answer(four, bob, 429)

        await four.deliver(ada.subscription_is("active"))
        await _until_all_answer(four, ada, 200)
        await _until_all_answer(four, bob, 429)

        await four.deliver(ada.subscription_is("unpaid"))
        await _until_all_answer(four, ada, 429)
