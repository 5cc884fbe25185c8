"""Jobs as their callers see them: put, found, listed, cancelled."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final
from uuid import UUID

import nats.errors
import structlog
from msgspec import Struct

from edge.entry import NotWritten, Overtaken, StreamFull
from edge.errors import (
    BodyTooLarge,
    BrokerAway,
    EdgeError,
    JobBegun,
    JobCancelled,
    JobsFull,
    TooManyJobs,
    UnknownJob,
)
from edge.jobs.outcome import cancelled
from edge.jobs.records import Records, away
from events.jobs import Finished, Job, OpenJob

log = structlog.get_logger()

COUNT_S: Final = 1.0  # for how long a count of an account's jobs is good enough
MAX_COUNTS: Final = 10_000
CANCELS: Final = 32  # at once
PAUSE_S: Final = 0.2


class _Count(Struct):
    jobs: int
    size: int  # bytes
    at: float  # by the monotonic clock


class JobStore:
    """Puts jobs into the queue, and knows what became of them.

    Args:
        records: What the broker has of them.
        patience_s: To put a job, or to be sure that it is not there.
        most_jobs: That may wait of one account.
        most_bytes: That their bodies may have together.
    """

    def __init__(
        self,
        records: Records,
        *,
        patience_s: float,
        most_jobs: int,
        most_bytes: int,
    ) -> None:
        self._records = records
        self._patience_s = patience_s
        self._most_jobs = most_jobs
        self._most_bytes = most_bytes
        self._counts: dict[UUID, _Count] = {}
        self._counting: dict[UUID, asyncio.Task[None]] = {}
        self._putting: dict[UUID, Job] = {}  # by id
        self._doubtful: set[Job] = set()  # whose callers were told that they are not there
        self._doubt = asyncio.Event()

    async def put(self, job: Job, *, keyed: bool = False) -> None:
        """Return once a job waits durably.

        Args:
            job: Is to wait.
            keyed: Whether a repeat of the request is about this job: then it is not cancelled
                where it is not known to wait.

        Raises:
            TooManyJobs: answered 429.
            JobsFull: answered 503; it will not run.
            BrokerAway: answered 503; it will not run, unless `keyed`.
            BodyTooLarge: answered 413.
        """
        count = await self._count(job.account_id)
        if count.jobs >= self._most_jobs or count.size + len(job.body) > self._most_bytes:
            message = (
                f"{count.jobs:,} jobs of this account wait, with {count.size:,} bytes; at most "
                f"{self._most_jobs:,} may, with {self._most_bytes:,} bytes: wait for some to finish"
            )
            raise TooManyJobs(message, retry_after_s=5)
        count.jobs += 1
        count.size += len(job.body)
        self._putting[job.id] = job
        try:
            await self._put(job, keyed=keyed)
        finally:
            self._putting.pop(job.id, None)  # a repeat may have been put beside it

    async def _put(self, job: Job, *, keyed: bool) -> None:
        until = time.monotonic() + self._patience_s
        while True:
            try:
                await self._records.add(job)
            except Overtaken:
                return  # by ourselves: the broker had it, and we did not hear of that
            except StreamFull as error:
                log.error("jobs_full", reason=str(error))
                message = "no more asynchronous requests can be taken right now; try again later"
                raise JobsFull(message, retry_after_s=30) from error
            except nats.errors.MaxPayloadError as error:
                message = "the body is larger than the message broker takes; send less at a time"
                raise BodyTooLarge(message) from error
            except NotWritten as error:
                if time.monotonic() > until:
                    if keyed:
                        message = "the job may be stored, or not: try again with the same key"
                        raise BrokerAway(message, retry_after_s=1) from error
                    self._doubtful.add(job)
                    self._doubt.set()
                    message = "the job could not be stored and will not run; try again"
                    raise BrokerAway(message, retry_after_s=1) from error
                await asyncio.sleep(PAUSE_S)
            else:
                return

    async def settle_doubts(self) -> None:
        """Cancel jobs that may be there although their callers were told otherwise, for ever."""
        while True:
            await self._doubt.wait()
            for job in list(self._doubtful):
                try:
                    await self._cancel(job)
                except NotWritten:
                    await asyncio.sleep(PAUSE_S)
                except JobBegun:
                    log.error("job_runs_unasked", job_id=str(job.id))
                    self._doubtful.discard(job)
                else:
                    self._doubtful.discard(job)
            if not self._doubtful:
                self._doubt.clear()

    async def is_known(self, job: Job) -> bool:
        """Whether a job waits, runs or is finished, were it by its caller's cancelling it."""
        waiting = await self._records.waiting(job.account_id, job.id)
        state, _ = await self._records.state(job.account_id, job.id)
        return bool(waiting) or state is not None

    async def find(self, account_id: UUID, job_id: UUID) -> Finished | None:
        """What came of an account's job; None while it waits or runs.

        Raises:
            UnknownJob: the account has none with this id.
            BrokerAway: nobody knows.
        """
        state, _ = await self._records.state(account_id, job_id)
        if state is None and not await self._records.waiting(account_id, job_id):
            # a job has its result before it leaves the queue: it may have done both meanwhile
            state, _ = await self._records.state(account_id, job_id)
            if state is None:
                raise _unknown(job_id)
        return state if isinstance(state, Finished) else None

    async def open(self, account_id: UUID) -> Sequence[OpenJob]:
        """An account's jobs that wait or run, the oldest first.

        Raises:
            BrokerAway: they cannot be read.
        """
        return await self._records.waiting(account_id)

    async def cancel(self, account_id: UUID, job_id: UUID) -> None:
        """Cancel a job that has not begun.

        Raises:
            UnknownJob: the account has none with this id.
            JobBegun: too late.
            BrokerAway: not known to be cancelled.
        """
        found = await self._records.waiting(account_id, job_id)
        if not found:
            state, _ = await self._records.state(account_id, job_id)
            raise _unknown(job_id) if state is None else _begun(job_id)
        try:
            await self._withdraw(account_id, found[0], b"")
        except NotWritten as error:
            raise away() from error

    async def cancel_all(self, account_id: UUID) -> int:
        """Cancel all of an account's jobs that have not begun; how many those were.

        Raises:
            BrokerAway: some are not known to be cancelled.
        """
        limit = asyncio.Semaphore(CANCELS)

        async def cancel(job: OpenJob) -> bool:
            async with limit:
                try:
                    await self._withdraw(account_id, job, b"")
                except JobBegun:
                    return False
                return True

        try:
            done = await asyncio.gather(*map(cancel, await self.open(account_id)))
        except NotWritten as error:
            raise away() from error
        return sum(done)

    async def _cancel(self, job: Job) -> None:
        size = len(job.body)
        known = OpenJob(subject=job.subject, id=job.id, model=job.model, task=job.task, size=size)
        await self._withdraw(job.account_id, known, job.body)

    async def _withdraw(self, account_id: UUID, job: OpenJob, body: bytes) -> None:
        """Give a job the result that it was cancelled, and take it out of the queue."""
        try:
            state, sequence = await self._records.state(account_id, job.id)
        except BrokerAway as error:
            raise NotWritten(str(error)) from error
        if not isinstance(state, Finished) or state.http_code != JobCancelled.status:
            if isinstance(state, Finished) or (state is not None and state.running):
                raise _begun(job.id)
            billed_as = state.request_id if state is not None and state.doubtful else None
            result = cancelled(job, body, billed_as)
            try:
                await self._records.write(account_id, job.id, result, sequence)
            except Overtaken as error:
                raise _begun(job.id) from error
        await self._records.drop(job)

    async def _count(self, account_id: UUID) -> _Count:
        """About how many jobs of an account wait: other edges' of the last second are not in it."""
        while True:
            count = self._counts.get(account_id)
            if count is not None and time.monotonic() - count.at <= COUNT_S:
                return count
            counting = self._counting.get(account_id)
            if counting is None:  # all who come meanwhile wait for this one
                counting = asyncio.create_task(self._look_up(account_id))
                self._counting[account_id] = counting
                counting.add_done_callback(lambda _: self._counting.pop(account_id))
            await asyncio.shield(counting)

    async def _look_up(self, account_id: UUID) -> None:
        """Count an account's jobs anew, with those that are on their way to the queue."""
        mine = [job for job in self._putting.values() if job.account_id == account_id]
        sizes = {job.id: len(job.body) for job in mine}
        sizes |= {job.id: job.size for job in await self.open(account_id)}
        if len(self._counts) > MAX_COUNTS:
            self._counts.clear()
        self._counts[account_id] = _Count(len(sizes), sum(sizes.values()), time.monotonic())


def _unknown(job_id: UUID) -> EdgeError:
    return UnknownJob(f"no job {job_id} of this account is known; results are kept for a day")


def _begun(job_id: UUID) -> EdgeError:
    return JobBegun(f"job {job_id} runs already, or is finished; GET it for its result")
