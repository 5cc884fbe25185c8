"""Who runs a job: one at a time, and under one request id until nothing is billed by it."""

import asyncio
from typing import Final
from uuid import UUID

import nats.errors
import structlog
from msgspec.structs import replace

from edge.entry import NotWritten, Overtaken
from edge.errors import BrokerAway
from edge.jobs.records import Records
from events.ids import new_id
from events.jobs import Claimed, Finished, Job, State

log = structlog.get_logger()

PAUSE_S: Final = 1.0


class Claim:
    """The right to run a job, and to say what came of it."""

    def __init__(self, records: Records, job: Job, claimed: Claimed, sequence: int) -> None:
        self._records = records
        self._claimed = claimed
        self._sequence = sequence
        self.job = job

    @property
    def request_id(self) -> UUID:
        """What it is metered under: an earlier run's, where that may have metered it."""
        return self._claimed.request_id

    @property
    def billed_as(self) -> UUID | None:
        """What an earlier run may have metered it under; None: none has."""
        return self._claimed.request_id if self._claimed.doubtful else None

    @property
    def lost(self) -> int:
        """How often it was lost with whoever ran it."""
        return self._claimed.lost

    async def release(self, *, lost: bool = False, voided: bool = False) -> None:
        """Give it back: this run has metered nothing. Insists, as `finish` does.

        Args:
            lost: Whether the worker that had it died.
            voided: Whether this run has seen to it that what may be billed is voided.

        Raises:
            Overtaken: somebody else goes on with the job.
        """
        await self._insist(self._released(lost=lost, voided=voided))

    async def drop(self) -> None:
        """Give it back, as `release`, but try only once: the edge is leaving.

        Raises:
            NotWritten: it is not known to be given back.
        """
        released = self._released(lost=False, voided=False)
        await self._records.write(self.job.account_id, self.job.id, released, self._sequence)

    async def finish(self, result: Finished) -> None:
        """Leave the result, however long the broker is away, or has no room for it.

        It is billed already: to throw it away would have the model answer again. What the
        broker does not take with its request, it takes without.

        Raises:
            Overtaken: somebody else goes on with the job.
            nats.errors.MaxPayloadError: the answer alone is too large.
        """
        try:
            await self._insist(result)
        except nats.errors.MaxPayloadError:
            await self._insist(replace(result, body=b""))

    def _released(self, *, lost: bool, voided: bool) -> Claimed:
        return replace(
            self._claimed,
            running=False,
            lost=self.lost + lost,
            doubtful=self._claimed.doubtful and not voided,
        )

    async def _insist(self, state: State) -> None:
        """Say what became of it, until that is known to be written."""
        unsure = False
        while True:
            try:
                await self._records.write(self.job.account_id, self.job.id, state, self._sequence)
            except Overtaken:
                if unsure and await self._stands(state):
                    return  # overtaken by ourselves: an earlier attempt got through
                raise
            except NotWritten as error:
                log.warning("job_state_not_written", job_id=str(self.job.id), error=repr(error))
                unsure = True
                await asyncio.sleep(PAUSE_S)
            else:
                return

    async def _stands(self, state: State) -> bool:
        while True:
            try:
                found, _ = await self._records.state(self.job.account_id, self.job.id)
            except BrokerAway:
                await asyncio.sleep(PAUSE_S)
            else:
                return found == state


async def begin(records: Records, job: Job) -> Claim | Finished:
    """Begin a job, or go on with one whose edge is gone; or hear that it is finished.

    Raises:
        NotWritten: somebody else has it, or nobody knows.
        BrokerAway: nobody knows.
    """
    state, sequence = await records.state(job.account_id, job.id)
    match state:
        case Finished():
            return state
        case Claimed(running=True):
            claimed = replace(state, lost=state.lost + 1, doubtful=True)
        case Claimed(doubtful=True):
            claimed = replace(state, running=True)
        case Claimed():
            claimed = replace(state, request_id=new_id(), running=True)
        case None:
            claimed = Claimed(request_id=new_id(), running=True)
    sequence = await records.write(job.account_id, job.id, claimed, sequence)
    return Claim(records, job, claimed, sequence)
