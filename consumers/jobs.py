"""Tells customers that their jobs are finished, by webhook."""

from collections.abc import Sequence

from msgspec import Struct
from nats.aio.msg import Msg

from consumers.consumer import Consumer
from consumers.webhooks import RETRIES_S, Poster, Posting
from events import jobs, streams
from events.jobs import ACCOUNT, JobFinished
from ledger.budgets import find_webhook
from ledger.db import Pool, acquire


class _Completion(Struct, frozen=True):
    event: JobFinished
    url: str  # or `ACCOUNT`
    body: bytes
    attempt: int


def _decode(message: Msg) -> _Completion:
    return _Completion(
        event=jobs.decode_event(message.data),
        url=(message.headers or {}).get(jobs.WEBHOOK, ACCOUNT),
        body=message.data,
        attempt=message.metadata.num_delivered,
    )


def job_webhooks(poster: Poster) -> Consumer[_Completion]:
    """What posts them where their callers asked for it, signed with the account's secret."""

    async def post(pool: Pool, completions: Sequence[_Completion]) -> None:
        for done in completions:
            async with acquire(pool) as connection:
                webhook = await find_webhook(connection, done.event.account_id)
            if webhook is not None:  # else it was taken away since: nobody is to be told
                await poster.post(
                    Posting(
                        url=webhook.url if done.url == ACCOUNT else done.url,
                        secret=webhook.secret,
                        id=f"job_{done.event.job_id}",
                        body=done.body,
                        attempt=done.attempt,
                    )
                )

    return Consumer(
        stream=streams.COMPLETIONS,
        config=streams.job_webhooks(),
        batch=1,
        decode=_decode,
        write=post,
        retries_s=RETRIES_S,
    )
