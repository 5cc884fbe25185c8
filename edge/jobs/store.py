"""The queue of jobs, and what became of each."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

import msgspec
import nats.errors
import structlog
from msgspec import Struct
from msgspec.structs import replace
from nats.aio.client import Client

from edge.entry import NotWritten, Overtaken, StreamFull, write_entry
from edge.errors import (
    BodyTooLarge,
    BrokerAway,
    EdgeError,
    JobBegun,
    JobsFull,
    TooManyJobs,
    UnknownJob,
)
from edge.jobs.outcome import cancelled
from events import jobs
from events.direct import Direct
from events.ids import new_id
from events.jobs import Claimed, Finished, Job, OpenJob, State
from events.streams import JOBS, RESULTS

log = structlog.get_logger()

ASK_S: Final = 2.0
COUNT_S: Final = 1.0  # for how long a count of an account's jobs is good enough
MAX_COUNTS: Final = 10_000
CANCELS: Final = 32  # at once
PAUSE_S: Final = 0.2


class Claim:
    """The right to run a job, and to say what came of it."""

    def __init__(self, store: "JobStore", job: Job, claimed: Claimed, sequence: int) -> None:
        self._store = store
        self._claimed = claimed
        self._sequence = sequence
        self.job = job

    @property
    def request_id(self) -> UUID:
        """What it is metered under: an earlier run's, where that was not heard of again."""
        return self._claimed.request_id

    @property
    def lost(self) -> int:
        """How often it was lost with whoever ran it."""
        return self._claimed.lost

    async def release(self, *, lost: bool = False) -> None:
        """Give it back: nothing is, nor will be, billed under this claim's request id.

        Args:
            lost: Whether the worker that had it died.
        """
        claimed = replace(self._claimed, running=False, lost=self.lost + lost)
        try:
            await self._store.write(self.job.account_id, self.job.id, claimed, self._sequence)
        except NotWritten as error:
            log.warning("job_not_released", job_id=str(self.job.id), error=repr(error))

    async def finish(self, result: Finished) -> None:
        """Leave the result. What the broker does not take with its request, it takes without.

        Raises:
            NotWritten: it is not known to be there.
            Overtaken: somebody else goes on with the job.
            nats.errors.MaxPayloadError: the answer alone is too large.
        """
        try:
            await self._store.write(self.job.account_id, self.job.id, result, self._sequence)
        except nats.errors.MaxPayloadError:
            result = replace(result, body=b"")
            await self._store.write(self.job.account_id, self.job.id, result, self._sequence)


class _Count(Struct):
    jobs: int
    size: int  # bytes
    at: float  # by the monotonic clock


class JobStore:
    """Puts jobs into the queue, and knows what became of them.

    Args:
        connection: Connected, or on its way back.
        direct: Reads results.
        patience_s: To put a job, or to be sure that it is not there.
        most_jobs: That may wait of one account.
        most_bytes: That their bodies may have together.
    """

    def __init__(
        self,
        connection: Client,
        direct: Direct,
        *,
        patience_s: float,
        most_jobs: int,
        most_bytes: int,
    ) -> None:
        self._connection = connection
        self._direct = direct
        self._patience_s = patience_s
        self._most_jobs = most_jobs
        self._most_bytes = most_bytes
        self._counts: dict[UUID, _Count] = {}
        self._doubtful: set[Job] = set()  # whose callers were told that they are not there
        self._doubt = asyncio.Event()

    async def put(self, job: Job) -> None:
        """Return once a job waits durably.

        Raises:
            TooManyJobs: answered 429.
            JobsFull, BrokerAway: answered 503; it will not run.
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
        until = time.monotonic() + self._patience_s
        while True:
            try:
                await write_entry(self._connection, job.subject, jobs.encode(job), after=0)
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
        """Whether a job waits, runs or is finished."""
        waiting = await self._subjects(jobs.filter_by(job.account_id, job.id))
        state, _ = await self._state(job.account_id, job.id)
        return bool(waiting) or state is not None

    async def find(self, account_id: UUID, job_id: UUID) -> Finished | None:
        """What came of an account's job; None while it waits or runs.

        Raises:
            UnknownJob: the account has none with this id.
            BrokerAway: nobody knows.
        """
        state, _ = await self._state(account_id, job_id)
        if state is None and not await self._subjects(jobs.filter_by(account_id, job_id)):
            # a job has its result before it leaves the queue: it may have done both meanwhile
            state, _ = await self._state(account_id, job_id)
            if state is None:
                raise _unknown(job_id)
        return state if isinstance(state, Finished) else None

    async def open(self, account_id: UUID) -> Sequence[OpenJob]:
        """An account's jobs that wait or run, the oldest first.

        Raises:
            BrokerAway: they cannot be read.
        """
        return jobs.read_subjects(await self._subjects(jobs.filter_by(account_id)))

    async def cancel(self, account_id: UUID, job_id: UUID) -> None:
        """Cancel a job that has not begun.

        Raises:
            UnknownJob: the account has none with this id.
            JobBegun: too late.
            BrokerAway: not known to be cancelled.
        """
        found = jobs.read_subjects(await self._subjects(jobs.filter_by(account_id, job_id)))
        if not found:
            state, _ = await self._state(account_id, job_id)
            raise _unknown(job_id) if state is None else _begun(job_id)
        try:
            await self._withdraw(account_id, found[0], b"")
        except NotWritten as error:
            raise _away() from error

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
            raise _away() from error
        return sum(done)

    async def claim(self, job: Job) -> Claim | Finished:
        """Begin a job, or go on with one whose edge is gone; or hear that it is finished.

        Raises:
            NotWritten: somebody else has it, or nobody knows.
            BrokerAway: nobody knows.
        """
        state, sequence = await self._state(job.account_id, job.id)
        match state:
            case Finished():
                return state
            case Claimed(running=True):
                claimed = replace(state, lost=state.lost + 1)
            case Claimed():
                claimed = replace(state, request_id=new_id(), running=True)
            case None:
                claimed = Claimed(request_id=new_id(), running=True)
        sequence = await self.write(job.account_id, job.id, claimed, sequence)
        return Claim(self, job, claimed, sequence)

    async def write(self, account_id: UUID, job_id: UUID, state: State, after: int) -> int:
        """Say what became of a job; see `write_entry`."""
        subject = jobs.result_subject(account_id, job_id)
        return await write_entry(self._connection, subject, jobs.encode(state), after=after)

    async def _cancel(self, job: Job) -> None:
        size = len(job.body)
        known = OpenJob(subject=job.subject, id=job.id, model=job.model, task=job.task, size=size)
        await self._withdraw(job.account_id, known, job.body)

    async def _withdraw(self, account_id: UUID, job: OpenJob, body: bytes) -> None:
        """Give a job the result that it was cancelled, and take it out of the queue."""
        try:
            state, sequence = await self._state(account_id, job.id)
        except BrokerAway as error:
            raise NotWritten(str(error)) from error
        if isinstance(state, Finished) or (state is not None and state.running):
            raise _begun(job.id)
        try:
            await self.write(account_id, job.id, cancelled(job, body), sequence)
        except Overtaken as error:
            raise _begun(job.id) from error
        await self._ask("STREAM.PURGE", {"filter": job.subject})

    async def _state(self, account_id: UUID, job_id: UUID) -> tuple[State | None, int]:
        try:
            found = await self._direct.last(RESULTS, jobs.result_subject(account_id, job_id))
        except (nats.errors.Error, OSError, TimeoutError) as error:
            raise _away() from error
        if not found:
            return None, 0
        return jobs.decode_state(found[0].data), int((found[0].headers or {})["Nats-Sequence"])

    async def _count(self, account_id: UUID) -> _Count:
        """About how many jobs of an account wait: other edges' of the last second are not in it."""
        count = self._counts.get(account_id)
        now = time.monotonic()
        if count is None or now - count.at > COUNT_S:
            found = await self.open(account_id)
            if len(self._counts) > MAX_COUNTS:
                self._counts.clear()
            count = _Count(len(found), sum(job.size for job in found), now)
            self._counts[account_id] = count
        return count

    async def _subjects(self, matching: str) -> Sequence[str]:
        try:
            answer = await self._ask("STREAM.INFO", {"subjects_filter": matching})
        except NotWritten as error:
            raise _away() from error
        return list(answer.state.subjects or ())

    async def _ask(self, question: str, about: Mapping[str, str]) -> "_Answer":
        try:
            reply = await self._connection.request(
                f"$JS.API.{question}.{JOBS}", msgspec.json.encode(about), timeout=ASK_S
            )
            answer = msgspec.json.decode(reply.data, type=_Answer)
        except (nats.errors.Error, OSError, TimeoutError, msgspec.DecodeError) as error:
            raise NotWritten(repr(error)) from error
        if answer.error is not None:
            raise NotWritten(str(answer.error))
        return answer


class _Subjects(Struct, frozen=True):
    subjects: dict[str, int] | None = None


class _Answer(Struct):
    state: _Subjects = _Subjects()
    error: dict[str, object] | None = None


def _away() -> EdgeError:
    message = "jobs cannot be looked up right now; try again"
    return BrokerAway(message, retry_after_s=1)


def _unknown(job_id: UUID) -> EdgeError:
    return UnknownJob(f"no job {job_id} of this account is known; results are kept for a day")


def _begun(job_id: UUID) -> EdgeError:
    return JobBegun(f"job {job_id} runs already, or is finished; GET it for its result")
