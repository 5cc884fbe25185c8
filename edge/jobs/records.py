"""What the broker has of jobs: those that wait, and the last word on each."""

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

import msgspec
import nats.errors
from msgspec import Struct
from nats.aio.client import Client

from edge.entry import NotWritten, write_entry
from edge.errors import BrokerAway, EdgeError
from events import jobs
from events.direct import Direct
from events.jobs import Job, OpenJob, State
from events.streams import JOBS, RESULTS

ASK_S: Final = 2.0


class Records:
    """Reads and writes them.

    Args:
        connection: Connected, or on its way back.
        direct: Reads results.
    """

    def __init__(self, connection: Client, direct: Direct) -> None:
        self._connection = connection
        self._direct = direct

    async def add(self, job: Job) -> None:
        """Have a job wait, if it does not yet; raises as `write_entry`."""
        await write_entry(self._connection, job.subject, jobs.encode(job), after=0)

    async def write(self, account_id: UUID, job_id: UUID, state: State, after: int) -> int:
        """Say what became of a job; see `write_entry`."""
        subject = jobs.result_subject(account_id, job_id)
        return await write_entry(self._connection, subject, jobs.encode(state), after=after)

    async def state(self, account_id: UUID, job_id: UUID) -> tuple[State | None, int]:
        """What became of a job, and the sequence number of that; None and 0 before it began.

        Raises:
            BrokerAway: nobody knows.
        """
        try:
            found = await self._direct.last(RESULTS, jobs.result_subject(account_id, job_id))
        except (nats.errors.Error, OSError, TimeoutError) as error:
            raise away() from error
        if not found:
            return None, 0
        return jobs.decode_state(found[0].data), int((found[0].headers or {})["Nats-Sequence"])

    async def waiting(self, account_id: UUID, job_id: UUID | None = None) -> Sequence[OpenJob]:
        """An account's jobs that wait or run, or one of them; the oldest first.

        Raises:
            BrokerAway: nobody knows.
        """
        matching = jobs.filter_by(account_id, job_id)
        try:
            answer = await self._ask("STREAM.INFO", {"subjects_filter": matching})
        except NotWritten as error:
            raise away() from error
        return jobs.read_subjects(list(answer.state.subjects or ()))

    async def drop(self, job: OpenJob) -> None:
        """Take a job out of the queue.

        Raises:
            NotWritten: it is not known to be gone.
        """
        await self._ask("STREAM.PURGE", {"filter": job.subject})

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


def away() -> EdgeError:
    """Nobody knows, right now."""
    message = "jobs cannot be looked up right now; try again"
    return BrokerAway(message, retry_after_s=1)
