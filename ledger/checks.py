"""What is wrong with what the ledger runs on, and how to mend it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct

from ledger.ages import REFRESHED
from ledger.arrange import COMPRESSED_AFTER, DROPPED, REFRESHES
from ledger.editions import Edition
from ledger.status import Facts, JobFacts

MIB: Final = 2**20
LEAST_BUFFERS: Final = 128 * MIB  # PostgreSQL's default
HOURS: Final = (24, 12, 6, 3, 1)  # lengths that a chunk may have: they divide a day
STALE: Final = timedelta(days=1)  # beyond a job's own interval
LEAST_WORKERS: Final = 2  # a scheduler and one job at a time
OTHER_WORKERS: Final = 3  # PostgreSQL's own, by TimescaleDB's advice
REFRESH: Final = "policy_refresh_continuous_aggregate"
COLUMNSTORE: Final = "policy_compression"
RETENTION: Final = "policy_retention"

# pairs that were seen to break; None stands for every TimescaleDB
BROKEN: Final[Mapping[tuple[int, str | None], str]] = {
    (170012, "2.29.2"): 'background jobs end with "cannot drop portal"',
    (170001, None): "its binary interface differs from that of 17.0 and 17.2",
    (160005, None): "its binary interface differs from that of 16.4 and 16.6",
    (150009, None): "its binary interface differs from that of 15.8 and 15.10",
    (140014, None): "its binary interface differs from that of 14.13 and 14.15",
}


class Check(Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    name: str
    ok: bool
    found: str
    mend: str = ""  # one sentence; none where all is well
    danger: bool = False  # to data, or to what is counted; else it is advice


def check(facts: Facts, now: datetime) -> Sequence[Check]:
    """Look at everything that this edition needs."""
    found: list[Check] = []
    for name, look, fine in _CHECKS:
        wrong = [
            Check(name=name, ok=False, found=one.found, mend=one.mend, danger=one.danger)
            for one in look(facts, now)
        ]
        found += wrong or [Check(name=name, ok=True, found=fine(facts))]
    return found


class _Wrong(Struct, frozen=True, kw_only=True):
    found: str
    mend: str
    danger: bool = False


def _migrations(facts: Facts, _: datetime) -> Iterator[_Wrong]:
    if facts.pending:
        yield _Wrong(
            found=f"missing: {', '.join(facts.pending)}",
            mend="Run `tollgate migrate`.",
            danger=True,
        )


def _durability(facts: Facts, _: datetime) -> Iterator[_Wrong]:
    if not facts.server.durable:
        yield _Wrong(
            found="a power cut takes what was committed",
            mend="Set fsync, full_page_writes and synchronous_commit to on: an event is "
            "acknowledged, and leaves the stream, once it is committed.",
            danger=True,
        )


def _versions(facts: Facts, _: datetime) -> Iterator[_Wrong]:
    server = facts.server
    if facts.edition is Edition.PLAIN:
        return
    for timescaledb in (server.timescaledb, None):
        if reason := BROKEN.get((server.server, timescaledb)):
            yield _Wrong(
                found=f"{_versions_of(facts)} is broken: {reason}",
                mend="Run another minor release of PostgreSQL, and pin it.",
                danger=True,
            )


def _edition(facts: Facts, _: datetime) -> Iterator[_Wrong]:
    if facts.server.has_aggregates and facts.edition is not Edition.COMMUNITY:
        yield _Wrong(
            found="made by the Community edition, and run without it: nothing is refreshed",
            mend="Set timescaledb.license to timescale on a server that has that edition.",
            danger=True,
        )
    if facts.server.timescaledb and facts.edition is Edition.PLAIN and not facts.pending:
        yield _Wrong(
            found="the extension came after the table, which has no chunks",
            mend="Leave it, or copy usage_events into a hypertable as docs/storage.md says.",
        )
    if facts.edition is Edition.COMMUNITY and not facts.server.has_aggregates and not facts.pending:
        yield _Wrong(
            found="the continuous aggregates are missing",
            mend="Run `tollgate migrate`, which makes them.",
        )


def _policies(facts: Facts, _: datetime) -> Iterator[_Wrong]:
    if facts.edition is not Edition.COMMUNITY or facts.pending:
        return
    jobs = {(job.policy, job.table): job for job in facts.jobs}
    needed = [(REFRESH, refresh.aggregate) for refresh in REFRESHES]
    needed += [(COLUMNSTORE, table) for table in COMPRESSED_AFTER]
    needed += [(RETENTION, table) for table in DROPPED]
    if missing := [
        f"{policy} of {table}" for policy, table in needed if (policy, table) not in jobs
    ]:
        yield _Wrong(
            found=f"missing: {', '.join(missing)}", mend="Run `tollgate migrate`.", danger=True
        )
    for refresh in REFRESHES:
        window, end = jobs.get((REFRESH, refresh.aggregate)), jobs.get((RETENTION, refresh.source))
        if window and end and not _ends_before(window, end):
            yield _Wrong(
                found=f"the refresh of {refresh.aggregate} reaches what retention drops, "
                "and deletes its history",
                mend="Run `tollgate migrate`, which sets both as they should be.",
                danger=True,
            )
    for table, after in COMPRESSED_AFTER.items():
        compression = jobs.get((COLUMNSTORE, table))
        if compression and (compression.after_s or 0) < after.total_seconds():
            yield _Wrong(
                found=f"chunks of {table} are compressed while they may still be written",
                mend="Run `tollgate migrate`, which sets it as it should be.",
            )
    for table in DROPPED:
        job = jobs.get((RETENTION, table))
        if job and job.after_s != timedelta(days=facts.retention_days).total_seconds():
            yield _Wrong(
                found=f"{table} is kept for {_days(job.after_s)}, not {facts.retention_days} days",
                mend="Run `tollgate migrate` with the TOLLGATE_USAGE_RETENTION_DAYS that you mean.",
            )


def _ends_before(window: JobFacts, retention: JobFacts) -> bool:
    if window.start_s is None or retention.after_s is None:
        return False
    return window.start_s + timedelta(days=1).total_seconds() <= retention.after_s


def _jobs(facts: Facts, now: datetime) -> Iterator[_Wrong]:
    for job in facts.jobs:
        name = f"{job.policy} of {job.table}"
        mend = (
            f"See timescaledb_information.job_errors, mend its cause, and CALL run_job({job.id})."
        )
        if not job.scheduled:
            mend = f"SELECT alter_job({job.id}, scheduled => true)."
            yield _Wrong(found=f"{name} is switched off", mend=mend, danger=True)
        if job.last_status == "Failed":
            found = f"{name} failed: {job.last_error or 'no reason was kept'}"
            yield _Wrong(found=found, mend=mend, danger=True)
        late = job.last_success and now - job.last_success > STALE + timedelta(seconds=job.every_s)
        if late:
            found = f"{name} last succeeded at {job.last_success:%Y-%m-%d %H:%M}"
            yield _Wrong(
                found=found,
                mend=f"Have jobs run, and `tollgate migrate` after more than {REFRESHED.days} "
                "days: it makes up for what they missed.",
                danger=True,
            )


def _workers(facts: Facts, _: datetime) -> Iterator[_Wrong]:
    if facts.edition is not Edition.COMMUNITY:
        return
    server, jobs = facts.server, len(facts.jobs)
    wanted, have = server.databases + jobs, server.background_workers or 0
    mend = f"Set timescaledb.max_background_workers to {wanted} or more, and restart PostgreSQL."
    if have < LEAST_WORKERS:
        found = f"{have} background workers: no policy can run"
        yield _Wrong(found=found, mend=mend, danger=True)
    elif have < wanted:
        found = f"{have} background workers for {server.databases} databases and {jobs} policies"
        yield _Wrong(found=found, mend=mend)
    processes = OTHER_WORKERS + have + server.parallel_workers
    if server.worker_processes < processes:
        yield _Wrong(
            found=f"max_worker_processes is {server.worker_processes}",
            mend=f"Set max_worker_processes to {processes} or more, and restart PostgreSQL.",
        )


def _memory(facts: Facts, _: datetime) -> Iterator[_Wrong]:
    buffers = facts.server.shared_buffers
    if buffers < LEAST_BUFFERS:
        yield _Wrong(
            found=f"shared_buffers is {_mib(buffers)}",
            mend="Set shared_buffers to a quarter of the machine's memory, and restart PostgreSQL.",
        )
    chunks = facts.chunks
    if chunks and chunks.largest_index_bytes > buffers // 4:
        hours = _fitting_hours(chunks.interval_s, chunks.largest_index_bytes, buffers // 4)
        yield _Wrong(
            found=f"a chunk's indexes take {_mib(chunks.largest_index_bytes)} "
            f"of {_mib(buffers)} of shared_buffers, more than a quarter",
            mend=f"SELECT set_chunk_time_interval('usage_events', interval '{hours} hours'), "
            "or raise shared_buffers.",
        )


def _fitting_hours(interval_s: int, index_bytes: int, room: int) -> int:
    fitting = interval_s / 3_600 * room / index_bytes
    return next((hours for hours in HOURS if hours <= fitting), HOURS[-1])


def _locks(facts: Facts, _: datetime) -> Iterator[_Wrong]:
    chunks, locks = facts.chunks, facts.server.locks_per_transaction
    if chunks and locks < 2 * chunks.chunks:
        wanted = 2 * max(chunks.chunks, facts.retention_days)
        yield _Wrong(
            found=f"max_locks_per_transaction is {locks}, of {chunks.chunks} chunks",
            mend=f"Set max_locks_per_transaction to {wanted} or more, and restart PostgreSQL.",
        )


def _retention(facts: Facts, now: datetime) -> Iterator[_Wrong]:
    kept = timedelta(days=facts.retention_days + 2)  # a day is dropped as a whole
    if facts.oldest_event and now - facts.oldest_event > kept:
        by = "its policy" if facts.edition is Edition.COMMUNITY else "`tollgate consume`"
        yield _Wrong(
            found=f"the oldest event is of {facts.oldest_event:%Y-%m-%d}",
            mend=f"Have {by} run, which drops what is older than {facts.retention_days} days.",
        )


def _mib(size: int) -> str:
    return f"{size / MIB:,.0f} MiB"


def _days(seconds: float | None) -> str:
    return f"{(seconds or 0) / 86_400:g} days"


def _versions_of(facts: Facts) -> str:
    timescaledb = facts.server.timescaledb
    with_it = f" with TimescaleDB {timescaledb}" if timescaledb else ""
    return f"PostgreSQL {facts.server.version}{with_it}"


_Look = Callable[[Facts, datetime], Iterator[_Wrong]]
_CHECKS: Final[Sequence[tuple[str, _Look, Callable[[Facts], str]]]] = (
    ("migrations", _migrations, lambda _: "up to date"),
    ("durability", _durability, lambda _: "what is committed is on disk"),
    ("versions", _versions, _versions_of),
    ("edition", _edition, lambda facts: facts.edition),
    ("policies", _policies, lambda facts: f"{len(facts.jobs)} policies"),
    ("jobs", _jobs, lambda facts: "none failed" if facts.jobs else "none are needed"),
    ("workers", _workers, lambda facts: "enough" if facts.jobs else "none are needed"),
    ("memory", _memory, lambda facts: f"{_mib(facts.server.shared_buffers)} of shared_buffers"),
    ("locks", _locks, lambda facts: f"{facts.server.locks_per_transaction} for each transaction"),
    ("retention", _retention, lambda facts: f"{facts.retention_days} days"),
)
