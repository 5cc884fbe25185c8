"""Jobs on the wire."""

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from events import jobs
from events.ids import new_id, secret_id
from events.jobs import Claimed, Finished, Job, JobFinished, State

names = st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable())
ids = st.builds(new_id)
times = st.datetimes(timezones=st.just(UTC))
waiting = st.builds(
    Job,
    id=st.builds(secret_id),
    account_id=ids,
    key_hash=st.binary(),
    model=names,
    task=names,
    path=st.binary(),
    body=st.binary(),
    priority=st.integers(-100, 100),
    url=st.text(),
    run_until=st.floats(0, 1e10),
    webhook=st.text(),
    traceparent=st.text(),
)
states = st.one_of(
    st.builds(
        Claimed,
        request_id=ids,
        running=st.booleans(),
        lost=st.integers(0, 9),
        doubtful=st.booleans(),
    ),
    st.builds(
        Finished,
        model=names,
        task=names,
        body=st.binary(),
        http_code=st.integers(100, 599),
        content=st.binary(),
        error_detail=st.text(),
        request_id=st.one_of(st.none(), ids),
        finished_on=times,
    ),
)


@given(waiting)
def test_jobs_come_back_as_they_were(job: Job) -> None:
    assert jobs.decode(jobs.encode(job)) == job


@given(states)
def test_what_became_of_them_comes_back_as_it_was(state: State) -> None:
    assert jobs.decode_state(jobs.encode(state)) == state


@given(st.lists(waiting, max_size=5))
def test_a_subject_says_what_waits_the_oldest_first(waiting: list[Job]) -> None:
    found = jobs.read_subjects([job.subject for job in waiting])

    assert [one.id for one in found] == sorted(job.id for job in waiting)
    by_id = {job.id: job for job in waiting}
    for one in found:
        job = by_id[one.id]
        assert (one.model, one.task, one.size) == (job.model, job.task, len(job.body))
        assert job.subject.startswith("jobs.")
        assert len(job.subject.split(".")) == 7


@given(times, st.integers(100, 599))
def test_completions_come_back_as_they_were(at: datetime, status: int) -> None:
    event = JobFinished(
        job_id=new_id(),
        account_id=new_id(),
        model="m",
        task="t",
        http_code=status,
        url="https://example.com/",
        created_on=at,
        timestamp=at,
    )

    assert jobs.decode_event(jobs.encode_event(event)) == event


@pytest.mark.parametrize("decode", [jobs.decode, jobs.decode_state, jobs.decode_event])
def test_nonsense_is_none_of_them(decode: object) -> None:
    assert callable(decode)
    with pytest.raises(msgspec.DecodeError):
        decode(b"\x93nonsense")
