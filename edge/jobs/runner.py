"""Answers jobs when it is their turn, a few at once, and beside what callers wait for."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import msgspec
import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from edge import metrics
from edge.entry import NotWritten
from edge.errors import (
    BadReply,
    EdgeError,
    Internal,
    JobExpired,
    JobLost,
    NotMetered,
    WorkerGone,
)
from edge.jobs.claim import Claim, begin
from edge.jobs.outcome import answered, failed, is_hopeful
from edge.jobs.places import Places
from edge.jobs.records import ROOM_S, Records
from events import jobs
from events.ids import new_id
from events.jobs import Finished, Job, Lane
from events.pull import Pull, give_back
from events.streams import COMPLETIONS, JOBS, job_lane

log = structlog.get_logger()

Run = Callable[[Job, UUID, UUID], Awaitable[bytes]]

LOOK_S: Final = 0.25  # for which a job waits for its place before the next one is looked at
MOST_WAITING: Final = 64  # jobs in hand, for places
PASSED_S: Final = 5.0  # for which a job goes back of whose account enough are in hand
ALIVE_S: Final = jobs.SILENCE_S / 4
MOST_LOST: Final = 5  # times: a job that kills whoever runs it does not go round for ever
LONGEST_S: Final = 60.0  # between two attempts
STATE_S: Final = 5.0
ANNOUNCE_S: Final = 3_600.0


class Runner:
    """Takes jobs from the queue, and settles each.

    Args:
        connection: Connected, or on its way back.
        records: What the broker has of jobs.
        run: Answers a job, admitted under the second argument's request id and metered
            under the third's; raises an `EdgeError` where it is not answered, nor billed.
        at_once: How many jobs.
    """

    def __init__(self, connection: Client, records: Records, run: Run, *, at_once: int) -> None:
        self._connection = connection
        self._records = records
        self._run = run
        self._places = Places(at_once)
        self._at_once = at_once
        self._pulls: list[Pull] = []
        self._stopping = asyncio.Event()
        self._in_hand: set[asyncio.Task[None]] = set()

    async def work(self) -> None:
        """Run jobs until `stop`; those that run then go back, for other edges.

        The connection must be up.
        """
        if self._at_once:
            self._pulls = [
                Pull(self._connection, JOBS, job_lane(lane), batch=1, linger_s=0.0) for lane in Lane
            ]
        async with asyncio.TaskGroup() as tasks:
            for pull in self._pulls:
                tasks.create_task(self._take(pull, tasks))
            await self._stopping.wait()
            for pull in self._pulls:
                pull.stop()
            for task in self._in_hand:
                task.cancel()

    def stop(self) -> None:
        """End `work` soon."""
        self._stopping.set()

    def renew(self) -> None:
        """Ask the broker again: it was away."""
        for pull in self._pulls:
            pull.renew()

    async def _take(self, pull: Pull, tasks: asyncio.TaskGroup) -> None:
        """Take one job after the other, as fast as they may begin.

        One that waits for long stays in hand, so that jobs of others are found behind it.
        """
        async for messages in pull.batches():
            if self._stopping.is_set():  # nobody would cancel what begins now
                await give_back(messages)
                continue
            for message in messages:
                if self._places.waiting(jobs.account_of(message.subject)) >= self._at_once:
                    await _answer(message, PASSED_S)
                    continue
                begun = asyncio.Event()
                alive = tasks.create_task(_keep(message))
                task = tasks.create_task(self._handle(message, begun, alive))
                self._in_hand.add(task)
                task.add_done_callback(self._in_hand.discard)
                patience_s = LOOK_S if self._places.waiting() < MOST_WAITING else None
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(patience_s):
                        await begun.wait()

    async def _handle(self, message: Msg, begun: asyncio.Event, alive: asyncio.Task[None]) -> None:
        """See one job through, and answer its message where it is known what became of it.

        Where it is not, the message is left alone: somebody else may have the job by now, and
        what says "again" of an earlier delivery would take it away from them. The broker
        hands it out again by itself once nobody says any more that it is in good hands.

        Args:
            message: The job's.
            begun: Set as soon as the next one may be taken.
            alive: What keeps it from being handed out again; ended with it.
        """
        try:
            job = jobs.decode(message.data)
            async with self._places.one(str(job.account_id), job.priority):
                begun.set()
                await self._until_room(job)
                delay_s = await self._settle(job)
            await _answer(message, delay_s)
        except msgspec.DecodeError as error:
            log.error("job_unreadable", subject=message.subject, error=str(error))
            await _answer(message, LONGEST_S)  # a newer edge may have put it there
        except asyncio.CancelledError:
            if not begun.is_set():
                await _answer(message, 0.0)
        except (NotWritten, EdgeError, nats.errors.Error, OSError, TimeoutError) as error:
            log.warning("job_not_settled", subject=message.subject, error=repr(error))
        except Exception:
            log.exception("job_not_settled", subject=message.subject)
        finally:
            begun.set()
            alive.cancel()

    async def _until_room(self, job: Job) -> None:
        """Wait until a result can be kept: whoever answers without that is not paid.

        The job stays in hand, and its place taken, so that no other is taken in vain.
        """
        is_told = False
        while not await self._records.has_room():
            if not is_told:
                log.error("results_full", job_id=str(job.id))
                is_told = True
            await asyncio.sleep(ROOM_S)

    async def _settle(self, job: Job) -> float | None:
        """Bring a job on.

        Returns:
            After how many seconds it is to be tried again; None: it is finished.

        Raises:
            Overtaken: somebody else goes on with it.
            NotWritten, EdgeError: it is not known what became of it; it goes on as it was.
        """
        claim = await begin(self._records, job)
        if isinstance(claim, Finished):
            await self._announce(job, claim)  # whoever finished it may not have come to that
            return None
        error = _hopeless(claim)
        if error is None:
            try:
                content = await self._attempt(claim)
            except asyncio.CancelledError:
                await claim.drop()
                return 0.0
            except EdgeError as found:
                error = found
                wait_s = _wait_s(error, job)
                if wait_s is not None:
                    lost, voided = isinstance(error, WorkerGone), isinstance(error, NotMetered)
                    await claim.release(lost=lost, voided=voided)
                    log.info("job_waits", job_id=str(job.id), code=error.code, wait_s=wait_s)
                    return wait_s
        if error is None:
            result = answered(job, content, claim.request_id)
        else:
            # nobody knows how far it was when something broke
            is_unknown = isinstance(error, Internal)
            result = failed(job, error, claim.request_id if is_unknown else claim.billed_as)
        result = await _finish(claim, result)
        await self._announce(job, result)
        metrics.JOBS.labels(result.http_code).inc()
        return None

    async def _attempt(self, claim: Claim) -> bytes:
        """Run a job; under an id of its own, unless somebody may have metered it before."""
        request_id = new_id() if claim.billed_as else claim.request_id
        try:
            return await self._run(claim.job, request_id, claim.request_id)
        except EdgeError:
            raise
        except Exception as error:
            log.exception("unforeseen", request_id=str(claim.request_id))
            raise Internal("something broke; quote the request id to us") from error

    async def _announce(self, job: Job, result: Finished) -> None:
        """State that a job is finished, if its caller wants to be told; repeats are one.

        What cannot be stated for an hour is not: a job that stays in the queue for longer than
        its result is kept would run again.
        """
        if not job.webhook:
            return
        event = jobs.finished_event(job, result)
        try:
            await self._connection.jetstream().publish(
                event.subject,
                jobs.encode_event(event),
                timeout=STATE_S,
                stream=COMPLETIONS,
                headers={"Nats-Msg-Id": str(job.id), jobs.WEBHOOK: job.webhook},
            )
        except (nats.errors.Error, OSError, TimeoutError) as error:
            if (datetime.now(UTC) - result.finished_on).total_seconds() < ANNOUNCE_S:
                raise
            log.error("job_not_announced", job_id=str(job.id), error=repr(error))


def _hopeless(claim: Claim) -> EdgeError | None:
    """Why a job is not tried at all, or not again."""
    if claim.lost >= MOST_LOST:
        return JobLost(f"it was lost {claim.lost} times with whoever ran it")
    if time.time() > claim.job.run_until:
        return JobExpired("it waited too long for its turn; ask again")
    return None


def _wait_s(error: EdgeError, job: Job) -> float | None:
    """How long a job waits after an error for another attempt; None: the error is its result."""
    if not is_hopeful(error):
        return None
    wait_s = min(max(1.0, error.retry_after_s or 1.0), LONGEST_S)
    return wait_s if time.time() + wait_s < job.run_until else None


async def _finish(claim: Claim, result: Finished) -> Finished:
    try:
        await claim.finish(result)
    except nats.errors.MaxPayloadError:
        # it is billed: the model has done its work, and would do it again for nothing
        error = BadReply("the answer is larger than can be kept; send less at a time")
        result = failed(claim.job, error, claim.request_id)
        await claim.finish(result)
    return result


async def _keep(message: Msg) -> None:
    """Say every few seconds that a job is in good hands."""
    while True:
        await asyncio.sleep(ALIVE_S)
        try:
            await message.in_progress()
        except nats.errors.Error as error:
            log.warning("job_not_kept", error=repr(error))


async def _answer(message: Msg, delay_s: float | None) -> None:
    """Tell the broker that a job is settled, or when to hand it out again.

    Where it does not hear that, it hands it out again by itself.
    """
    try:
        if delay_s is None:
            await message.ack()
        else:
            await message.nak(delay=delay_s)
    except nats.errors.Error as error:
        log.warning("job_not_acknowledged", error=repr(error))
