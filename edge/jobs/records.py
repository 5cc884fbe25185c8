"""What the broker has of jobs: those that wait, and the last word on each."""

import math
import time
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
ROOM_S: Final = 1.0  # for how long it is good enough to know how full RESULTS is
ENOUGH: Final = 0.9  # of RESULTS: the rest is for the answers of jobs that run


class Records:
    """Reads and writes them.

    Args:
        connection: Connected, or on its way back.
        direct: Reads results.
    """

    def __init__(self, connection: Client, direct: Direct) -> None:
        self._connection = connection
        self._direct = direct
        self._has_room = False
        self._looked_at = -math.inf  # by the monotonic clock

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
            answer = await self._ask(f"STREAM.INFO.{JOBS}", {"subjects_filter": matching})
        except NotWritten as error:
            raise away() from error
        return jobs.read_subjects(list(answer.state.subjects or ()))

    async def drop(self, job: OpenJob) -> None:
        """Take a job out of the queue.

        Raises:
            NotWritten: it is not known to be gone.
        """
        await self._ask(f"STREAM.PURGE.{JOBS}", {"filter": job.subject})

    async def has_room(self) -> bool:
        """Whether another job may begin: there will be room for its result.

        Raises:
            NotWritten: nobody knows.
        """
        now = time.monotonic()
        if now - self._looked_at > ROOM_S:
            answer = await self._ask(f"STREAM.INFO.{RESULTS}", {})
            most = answer.config.max_bytes
            self._has_room = most < 0 or answer.state.bytes <= ENOUGH * most
            self._looked_at = now
        return self._has_room

    async def _ask(self, question: str, about: Mapping[str, str]) -> "_Answer":
        try:
            reply = await self._connection.request(
                f"$JS.API.{question}", msgspec.json.encode(about), timeout=ASK_S
            )
            answer = msgspec.json.decode(reply.data, type=_Answer)
        except (nats.errors.Error, OSError, TimeoutError, msgspec.DecodeError) as error:
            raise NotWritten(repr(error)) from error
        if answer.error is not None:
            raise NotWritten(str(answer.error))
        return answer


class _Kept(Struct, frozen=True):
    subjects: dict[str, int] | None = None
    bytes: int = 0


class _Config(Struct, frozen=True):
    max_bytes: int = -1  # none


class _Answer(Struct):
    state: _Kept = _Kept()
    config: _Config = _Config()
    error: dict[str, object] | None = None


def away() -> EdgeError:
    """Nobody knows, right now."""
    message = "jobs cannot be looked up right now; try again"
    return BrokerAway(message, retry_after_s=1)
