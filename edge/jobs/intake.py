"""Takes asynchronous requests: what can be refused is refused at once, the rest waits."""

import re
import time
from typing import Final
from uuid import UUID

from litestar.types import Scope
from msgspec import Struct

from edge.asgi import Answer, header
from edge.auth import Caller
from edge.dialect import Asked
from edge.errors import (
    BodyTooLarge,
    InvalidParameter,
    JobsFull,
    LedgerAway,
    NoWebhook,
    TooManyJobs,
)
from edge.idempotency import HEADER, REPLAYED, Idempotency
from edge.jobs.store import JobStore
from edge.jobs.taken import result_url, taken, told_url
from edge.settings import Settings
from events.ids import secret_id
from events.jobs import ACCOUNT, Job
from events.webhooks import check_url
from ledger.budgets import find_webhook
from ledger.db import Pool, acquire
from ledger.errors import LedgerUnavailable

PREFERRED: Final = (b"preference-applied", b"respond-async")
WEBHOOK: Final = "Webhook-Url"

_REFUSALS: Final = (TooManyJobs, JobsFull, BodyTooLarge)  # after them there is no job

_ASYNC: Final = re.compile(r"(^|,)\s*respond-async\s*(,|;|$)", re.IGNORECASE)


class Waiting(Struct, frozen=True, kw_only=True):
    """A request that is to become a job."""

    caller: Caller
    asked: Asked
    body: bytes
    key_hash: bytes
    priority: int
    traceparent: str


def prefers_async(scope: Scope) -> bool:
    """Whether the caller would rather not wait.

    Source: RFC 7240, section 4.1.
    """
    preferred = header(scope, b"prefer")
    return preferred is not None and _ASYNC.search(preferred) is not None


class Intake:
    """Makes jobs of requests."""

    def __init__(
        self, store: JobStore, idempotency: Idempotency, pool: Pool, settings: Settings
    ) -> None:
        self._store = store
        self._idempotency = idempotency
        self._pool = pool
        self._settings = settings

    async def take(self, waiting: Waiting, scope: Scope) -> Answer:
        """Put a request into the queue, and say where its result will be.

        Raises:
            InvalidParameter: it cannot be a job, or its webhook is not taken; answered 400.
            NoWebhook: answered 409.
            BodyTooLarge, TooManyJobs, JobsFull, BrokerAway, LedgerAway: answered 413, 429
                and 503; it will not run. But with an Idempotency-Key and BrokerAway it may,
                and a repeat says so.
            IdempotencyKeyReused, StillRunning: of an Idempotency-Key.
        """
        if waiting.asked.stream:
            message = "a job has one answer: leave out `stream`, or ask without `async`"
            raise InvalidParameter(message, param="stream")
        if len(waiting.body) > self._settings.job_body_bytes:
            limit = self._settings.job_body_bytes
            message = f"send at most {limit:,} bytes asynchronously; split the work over several"
            raise BodyTooLarge(message)
        webhook = await self._webhook(waiting, header(scope, WEBHOOK.lower().encode()))
        job = self._job(waiting, scope["raw_path"], secret_id(), webhook)
        key = header(scope, HEADER)
        headers = [PREFERRED] if prefers_async(scope) else []
        if key is None:
            await self._store.put(job)
            return taken(result_url(scope, self._settings, job.id), headers)
        target = waiting.asked.target
        named = ("async", target.model, target.task, target.language)
        same = (*(name.encode() for name in named), waiting.body)
        begun = await self._idempotency.begin(waiting.caller.account.id, key, same, job.id)
        if isinstance(begun, bytes):
            return taken(begun.decode(), [*headers, REPLAYED])
        try:
            if begun.request_id == job.id:
                await self._store.put(job, keyed=True)
            else:  # the first attempt has perhaps put it there
                job = self._job(waiting, scope["raw_path"], begun.request_id, webhook)
                if not await self._store.is_known(job):
                    await self._store.put(job, keyed=True)
        except _REFUSALS:
            await begun.release()
            raise
        except BaseException:
            await begun.suspend()
            raise
        url = result_url(scope, self._settings, job.id)
        await begun.complete(url.encode())
        return taken(url, headers)

    def _job(self, waiting: Waiting, path: bytes, job_id: UUID, webhook: str) -> Job:
        target = waiting.asked.target
        return Job(
            id=job_id,
            account_id=waiting.caller.account.id,
            key_hash=waiting.key_hash,
            path=path,
            model=target.model,
            task=target.task,
            body=waiting.body,
            priority=waiting.priority,
            url=told_url(self._settings, job_id),
            run_until=time.time() + self._settings.job_s,
            webhook=webhook,
            traceparent=waiting.traceparent,
        )

    async def _webhook(self, waiting: Waiting, url: str | None) -> str:
        """Where the caller wants to be told; empty where nowhere."""
        if url is None:
            return ""
        if url != ACCOUNT:
            try:
                check_url(url, inside=self._settings.webhooks_inside)
            except ValueError as error:
                raise InvalidParameter(str(error), param=WEBHOOK) from error
        try:
            async with acquire(self._pool) as connection:
                found = await find_webhook(connection, waiting.caller.account.id)
        except LedgerUnavailable as error:
            message = "the account's webhook cannot be looked up right now; try again, or without"
            raise LedgerAway(message, retry_after_s=1) from error
        if found is None:
            message = "there is no secret to sign with: have a webhook set for the account first"
            raise NoWebhook(message, param=WEBHOOK)
        return url
