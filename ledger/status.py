"""What the ledger runs on: facts to look at, and what `ledger.checks` makes of them."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from ledger import _sql
from ledger.db import Connection
from ledger.editions import Edition, find_edition

_SQL = _sql.load("status.sql")
_CHUNKS = _sql.load("apache/status.sql")
_JOBS = _sql.load("community/status.sql")


class ServerFacts(Struct, frozen=True, kw_only=True):
    """Versions and settings."""

    server: int  # 170011 is 17.11
    timescaledb: str | None
    license: str | None
    shared_buffers: int  # bytes
    worker_processes: int
    parallel_workers: int
    background_workers: int | None  # None: there is nothing that would start any
    locks_per_transaction: int
    durable: bool  # what is committed outlives a power cut
    databases: int
    has_aggregates: bool

    @property
    def version(self) -> str:
        """PostgreSQL's version, as people write it."""
        return f"{self.server // 10_000}.{self.server % 10_000}"


class ChunkFacts(Struct, frozen=True, kw_only=True):
    """How the events are cut up."""

    interval_s: int
    chunks: int
    largest_bytes: int
    largest_index_bytes: int


class JobFacts(Struct, frozen=True, kw_only=True):
    """One policy, and how its last run ended."""

    id: int
    policy: str
    table: str
    scheduled: bool
    every_s: float
    start_s: float | None  # of a refresh: how far back it goes
    after_s: float | None  # of the others: from which age on
    last_status: str | None  # None: it has not run yet
    last_success: datetime | None
    last_error: str | None  # of any run; the newest


class Facts(Struct, frozen=True, kw_only=True):
    """All that a status says, and all that is checked."""

    edition: Edition
    server: ServerFacts
    pending: Sequence[str]  # migrations
    retention_days: int
    chunks: ChunkFacts | None = None
    jobs: Sequence[JobFacts] = ()
    oldest_event: datetime | None = None


async def read_facts(
    connection: Connection, *, pending: Sequence[str], retention_days: int
) -> Facts:
    """Ask the server."""
    edition = await find_edition(connection)
    server = await connection.fetchrow(_SQL["read_server"])
    assert server is not None
    facts = Facts(
        edition=edition,
        server=ServerFacts(**server),
        pending=pending,
        retention_days=retention_days,
    )
    if pending:
        return facts  # what would be asked about may not be there yet
    chunks, jobs = None, []
    if edition is not Edition.PLAIN:
        row = await connection.fetchrow(_CHUNKS["read_chunks"])
        assert row is not None
        chunks = ChunkFacts(**row)
    if edition is Edition.COMMUNITY:
        jobs = [JobFacts(**row) for row in await connection.fetch(_JOBS["read_jobs"])]
    return Facts(
        edition=edition,
        server=facts.server,
        pending=pending,
        retention_days=retention_days,
        chunks=chunks,
        jobs=jobs,
        oldest_event=await connection.fetchval(_SQL["find_oldest_event"]),
    )
