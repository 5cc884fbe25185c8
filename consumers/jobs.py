"""Tells customers that their jobs are finished, by webhook."""

from nats.aio.msg import Msg

from consumers.hooks import Hook, Hooks
from consumers.webhooks import Poster
from events import jobs, streams


def _decode(message: Msg) -> Hook:
    event = jobs.decode_event(message.data)
    return Hook(
        account_id=event.account_id,
        url=(message.headers or {}).get(jobs.WEBHOOK, jobs.ACCOUNT),
        id=f"job_{event.job_id}",
    )


def job_webhooks(poster: Poster) -> Hooks:
    """What posts them where their callers asked for it, while there is a result to fetch."""
    return Hooks(
        stream=streams.COMPLETIONS,
        config=streams.job_webhooks(),
        decode=_decode,
        kept_s=jobs.KEPT_S,
        poster=poster,
    )
