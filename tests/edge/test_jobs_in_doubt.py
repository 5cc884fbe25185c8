"""Jobs that an earlier run may have metered: billed under one id, and never called unbilled."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from msgspec.structs import replace
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import DiscardPolicy
from structlog.testing import capture_logs

from deploy.local.nats import Nats
from edge.errors import BrokerAway, BudgetExhausted, EdgeError, ModelBusy, NotMetered
from edge.jobs.claim import Claim, begin
from edge.jobs.outcome import answered
from edge.jobs.records import Records
from edge.jobs.runner import Run, Runner
from edge.jobs.store import JobStore
from events import broker, jobs, streams
from events.direct import Direct
from events.ids import new_id, secret_id
from events.jobs import ACCOUNT, Finished, Job
from events.pull import Pull
from tests.waiting import PATIENCE_S, until

BUSY = ModelBusy("busy", retry_after_s=1)
STRANGER = new_id()
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
async def prepared(nats: Client) -> None:
    await streams.prepare(nats, streams.Sizes(jobs_bytes=streams.MIB))


@pytest.fixture
async def records(nats: Client) -> Records:
    direct = Direct(nats)
    await direct.start()
    return Records(nats, direct)


@pytest.fixture
async def job(records: Records) -> Job:
    """One that waits."""
    job_id = secret_id()
    job = Job(
        id=job_id,
        account_id=new_id(),
        key_hash=b"",
        model="good",
        task="echo",
        path=b"/v1/good/echo",
        body=b"{}",
        url=f"http://127.0.0.1/v1/jobs/{job_id}",
        run_until=time.time() + 3_600,
    )
    await records.add(job)
    return job


class Model:
    """Answers a job, or fails as it is told; and says under which ids it was to be metered."""

    def __init__(self, *errors: EdgeError) -> None:
        self._errors = list(errors)
        self.asked: list[tuple[UUID, UUID]] = []  # admitted under, metered under

    async def __call__(self, _: Job, request_id: UUID, metered_as: UUID) -> bytes:
        self.asked.append((request_id, metered_as))
        if self._errors:
            raise self._errors.pop(0)
        return b"answer"


@asynccontextmanager
async def at_work(nats: Client, records: Records, run: Run) -> AsyncIterator[Runner]:
    runner = Runner(nats, records, run, at_once=4)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(runner.work())
        try:
            yield runner
        finally:
            runner.stop()


async def taken_over(records: Records, job: Job) -> UUID:
    """Run and meter a job on an edge that dies then: the id that it was metered under."""
    claim = await begin(records, job)
    assert isinstance(claim, Claim)
    return claim.request_id


async def finished(records: Records, job: Job) -> Finished:
    found: list[Finished] = []

    async def is_finished() -> bool:
        with contextlib.suppress(BrokerAway):
            state, _ = await records.state(job.account_id, job.id)
            if isinstance(state, Finished):
                found.append(state)
        return bool(found)

    await until(is_finished)
    return found[0]


async def test_a_job_that_was_taken_over_keeps_its_id_until_it_is_answered(
    nats: Client, records: Records, job: Job
) -> None:
    metered_as = await taken_over(records, job)
    model = Model(BUSY, BUSY)
    async with at_work(nats, records, model):
        result = await finished(records, job)

    assert (result.http_code, result.request_id) == (200, metered_as)
    assert {one for _, one in model.asked} == {metered_as}
    assert len({one for one, _ in model.asked} | {metered_as}) == 4  # each is admitted anew


async def test_control_a_job_that_was_given_back_has_another_id_each_time(
    nats: Client, records: Records, job: Job
) -> None:
    model = Model(BUSY, BUSY)
    async with at_work(nats, records, model):
        result = await finished(records, job)

    assert len(set(model.asked)) == 3
    assert result.request_id == model.asked[-1][1]


async def test_a_job_whose_event_is_voided_goes_on_under_another_id(
    nats: Client, records: Records, job: Job
) -> None:
    metered_as = await taken_over(records, job)
    model = Model(NotMetered("late", retry_after_s=1))
    async with at_work(nats, records, model):
        result = await finished(records, job)

    assert [one for _, one in model.asked] == [metered_as, result.request_id]
    assert result.request_id != metered_as


async def test_what_may_be_billed_is_not_called_unbilled(
    nats: Client, records: Records, job: Job
) -> None:
    metered_as = await taken_over(records, job)
    async with at_work(nats, records, Model(BudgetExhausted("the first run spent it"))):
        result = await finished(records, job)

    assert (result.http_code, result.request_id) == (402, metered_as)


async def test_what_was_lost_too_often_is_not_called_unbilled(
    nats: Client, records: Records, job: Job
) -> None:
    metered_as = await taken_over(records, job)
    for _ in range(4):
        assert await taken_over(records, job) == metered_as
    model = Model()
    async with at_work(nats, records, model):
        result = await finished(records, job)

    assert not model.asked
    assert (result.http_code, result.request_id) == (502, metered_as)
    assert "billed" not in result.error_detail


async def test_a_cancelled_job_that_may_be_billed_says_under_which_id(
    records: Records, job: Job
) -> None:
    metered_as = await taken_over(records, job)
    second = await begin(records, job)
    assert isinstance(second, Claim)
    await second.release()
    store = JobStore(records, patience_s=PATIENCE_S, most_jobs=1, most_bytes=1)
    await store.cancel(job.account_id, job.id)

    result = await finished(records, job)
    assert (result.http_code, result.request_id) == (499, metered_as)
    assert "billed" not in result.error_detail


async def test_what_somebody_else_goes_on_with_is_left_to_them(
    nats: Client, nats_url: str, records: Records, job: Job
) -> None:
    """An edge that stood still for longer than its silence is borne with."""
    answers: list[bytes] = []

    async def hear(message: Msg) -> None:
        answers.append(message.data)

    async def run(_: Job, __: UUID, ___: UUID) -> bytes:
        await taken_over(records, job)
        return b"answer"

    watcher = await broker.connect(nats_url, "watcher")
    await watcher.subscribe("$JS.ACK.JOBS.>", cb=hear)
    await broker.settle(watcher)
    with capture_logs() as logs:
        async with at_work(nats, records, run):
            await until(lambda: _is_logged(logs, "job_not_settled"))
    await nats.flush()
    await broker.settle(watcher)
    await watcher.close()

    assert [one for one in answers if one != Msg.Ack.Progress] == []


def _is_logged(logs: Sequence[object], event: str) -> bool:
    return any(isinstance(one, dict) and one["event"] == event for one in logs)


async def test_an_answer_is_kept_until_the_broker_takes_it(
    nats_server: Nats, nats: Client, records: Records, job: Job
) -> None:
    model = Model()

    async def run(job: Job, request_id: UUID, metered_as: UUID) -> bytes:
        answer = await model(job, request_id, metered_as)
        if len(model.asked) == 1:
            nats_server.stop()
        return answer

    with capture_logs() as logs:
        async with at_work(nats, records, run):
            await until(lambda: _is_logged(logs, "job_state_not_written"))
            await asyncio.to_thread(nats_server.start)
            result = await finished(records, job)

    assert (result.content, result.request_id) == (b"answer", model.asked[0][1])
    assert len(model.asked) == 1


async def fill_results(nats: Client, size: int) -> None:
    """Have the result of somebody else's job there."""
    subject = jobs.result_subject(STRANGER, new_id())
    await nats.jetstream().publish(subject, b"x" * size)


async def test_no_job_begins_while_there_is_little_room_for_results(
    nats: Client, records: Records, job: Job
) -> None:
    """A claim of a hundred bytes would still fit, its answer would not."""
    for _ in range(20):
        await fill_results(nats, 99_000)
    model = Model()
    with capture_logs() as logs:
        async with at_work(nats, records, model):
            await until(lambda: model.asked or _is_logged(logs, "results_full"))
            assert not model.asked
            await nats.jetstream().purge_stream(streams.RESULTS)
            result = await finished(records, job)

    assert (result.http_code, len(model.asked)) == (200, 1)


async def test_an_answer_is_kept_until_there_is_room_for_it(
    nats: Client, records: Records, job: Job
) -> None:
    model = Model()

    async def run(job: Job, request_id: UUID, metered_as: UUID) -> bytes:
        answer = await model(job, request_id, metered_as)
        if len(model.asked) == 1:
            for _ in range(20):
                await fill_results(nats, 103_000)
        return answer + b"!" * 50_000

    with capture_logs() as logs:
        async with at_work(nats, records, run):
            await until(lambda: _is_logged(logs, "job_state_not_written") or len(model.asked) > 1)
            await nats.jetstream().purge_stream(streams.RESULTS, subject=f"results.{STRANGER}.*")
            result = await finished(records, job)

    assert (result.http_code, len(model.asked)) == (200, 1)
    assert result.request_id == model.asked[0][1]


async def waits_for_being_told(records: Records, job: Job) -> Job:
    """Another job, whose caller wants to be told."""
    other = replace(job, id=secret_id(), webhook=ACCOUNT)
    await records.add(other)
    return other


async def _are_settled(nats: Client) -> bool:
    info = await nats.jetstream().stream_info(streams.JOBS)
    return bool(info.state.messages == 0)


async def test_completions_that_nobody_needs_any_more_hold_up_no_job(
    nats: Client, records: Records, job: Job
) -> None:
    """What was posted stays for days: full of it, the stream still takes what is new."""
    jetstream = nats.jetstream()
    config = (await jetstream.stream_info(streams.COMPLETIONS)).config
    config.max_bytes = 10_000
    await jetstream.update_stream(config)
    for _ in range(30):  # with what refuses when it is full, this fails already
        await jetstream.publish(f"completions.{STRANGER}", b"x" * 1_000)
    other = await waits_for_being_told(records, job)
    async with at_work(nats, records, Model()):
        await until(lambda: _are_settled(nats))

    told = await jetstream.get_last_msg(streams.COMPLETIONS, f"completions.{job.account_id}")
    assert told.data is not None
    assert jobs.decode_event(told.data).job_id == other.id


async def test_completions_of_an_older_release_are_changed(nats: Client) -> None:
    jetstream = nats.jetstream()
    await jetstream.delete_stream(streams.COMPLETIONS)
    await jetstream.add_stream(
        name=streams.COMPLETIONS,
        subjects=[jobs.COMPLETIONS_SUBJECTS],
        discard=DiscardPolicy.NEW,
        max_age=30 * streams.DAY_S,
    )
    await streams.prepare(nats, streams.Sizes(jobs_bytes=streams.MIB))

    config = (await jetstream.stream_info(streams.COMPLETIONS)).config
    assert config.discard == DiscardPolicy.OLD


async def test_what_could_not_be_told_for_an_hour_is_settled_untold(
    nats: Client, records: Records, job: Job
) -> None:
    await nats.jetstream().delete_stream(streams.COMPLETIONS)
    other = await waits_for_being_told(records, job)
    result = replace(answered(other, b"answer", new_id()), finished_on=datetime.now(UTC) - HOUR)
    await records.write(other.account_id, other.id, result, 0)
    with capture_logs() as logs:
        async with at_work(nats, records, Model()):
            await until(lambda: _is_logged(logs, "job_not_announced"))
            await until(lambda: _are_settled(nats))


async def test_a_job_that_comes_as_the_edge_stops_goes_back(
    nats: Client, records: Records, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    runners: list[Runner] = []
    came = asyncio.Event()
    batches = Pull.batches

    async def batches_too_late(self: Pull) -> AsyncIterator[Sequence[Msg]]:
        async for messages in batches(self):
            runners[0].stop()
            came.set()
            yield messages

    monkeypatch.setattr(Pull, "batches", batches_too_late)
    model = Model()
    async with asyncio.timeout(PATIENCE_S), at_work(nats, records, model) as runner:
        runners.append(runner)
        await came.wait()
    assert not model.asked

    monkeypatch.undo()
    async with at_work(nats, records, model):
        result = await finished(records, job)
    assert (result.http_code, len(model.asked)) == (200, 1)
