"""Who runs a job: one at a time, and under one request id until nothing is billed by it."""

from uuid import UUID

import nats.errors
import structlog
from msgspec.structs import replace

from edge.entry import NotWritten
from edge.jobs.records import Records
from events.ids import new_id
from events.jobs import Claimed, Finished, Job

log = structlog.get_logger()


class Claim:
    """The right to run a job, and to say what came of it."""

    def __init__(self, records: Records, job: Job, claimed: Claimed, sequence: int) -> None:
        self._records = records
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
            await self._records.write(self.job.account_id, self.job.id, claimed, self._sequence)
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
            await self._records.write(self.job.account_id, self.job.id, result, self._sequence)
        except nats.errors.MaxPayloadError:
            result = replace(result, body=b"")
            await self._records.write(self.job.account_id, self.job.id, result, self._sequence)


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
            claimed = replace(state, lost=state.lost + 1)
        case Claimed():
            claimed = replace(state, request_id=new_id(), running=True)
        case None:
            claimed = Claimed(request_id=new_id(), running=True)
    sequence = await records.write(job.account_id, job.id, claimed, sequence)
    return Claim(records, job, claimed, sequence)
