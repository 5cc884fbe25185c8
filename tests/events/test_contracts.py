"""msgspec checks values when it decodes, not when we construct: so everything goes round."""

from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from events import inference, models, usage
from events.ids import new_id, time_of
from events.models import ModelAnnounced, ModelDeclared
from events.usage import Numbered, Quantities, Usage, UsageEvent


def _uuid7(milliseconds: int, rest: int) -> UUID:
    random = rest & (2**74 - 1)
    return UUID(
        int=(milliseconds << 80)
        | (7 << 76)
        | ((random >> 62) << 64)
        | (0b10 << 62)
        | (random & (2**62 - 1))
    )


ids = st.builds(_uuid7, st.integers(0, 2**47), st.integers(0, 2**74))
counts = st.integers(0, 2**63 - 1)
names = st.text(min_size=1, max_size=40)
quantities = st.builds(Quantities, **dict.fromkeys(Quantities.__struct_fields__, counts))
usages = st.builds(
    Usage,
    request_id=ids,
    part=st.integers(0, 2**31 - 1),
    account_id=st.uuids(),
    key_id=st.text(),
    model=names,
    task=names,
    status=st.integers(100, 599),
    duration_ms=counts,
    quantities=quantities,
    plan=st.text(),
    rates=st.dictionaries(names, counts, max_size=3),
)
numbers = st.builds(Numbered, epoch=ids, sequence=st.integers(1, 2**63 - 1))
events = st.builds(usage.recorded, usages, numbers) | st.builds(usage.voided, usages, numbers)


@given(events)
def test_usage_events_come_back_as_they_were(event: UsageEvent) -> None:
    assert usage.decode(usage.encode(event)) == event


@given(events)
def test_usage_events_are_cloudevents(event: UsageEvent) -> None:
    raw = msgspec.json.decode(usage.encode(event))

    assert raw["specversion"] == "1.0"
    for required in ("id", "source", "type"):
        assert isinstance(raw[required], str)
        assert raw[required]
    assert raw["time"].endswith("Z")


@given(usages)
def test_a_record_and_its_void_have_ids_of_their_own(fact: Usage) -> None:
    number = Numbered(epoch=new_id(), sequence=1)

    assert usage.recorded(fact, number).id != usage.voided(fact, number).id


@given(events, st.sampled_from(["id", "source", "sequence", "time", "data", "type"]))
def test_a_usage_event_with_a_field_missing_is_not_one(event: UsageEvent, field: str) -> None:
    raw = msgspec.json.decode(usage.encode(event))
    del raw[field]

    with pytest.raises(msgspec.ValidationError):
        usage.decode(msgspec.json.encode(raw))


def test_a_negative_quantity_is_not_a_quantity() -> None:
    fact = Usage(
        request_id=new_id(),
        account_id=new_id(),
        key_id="k",
        model="m",
        task="t",
        quantities=Quantities(input_tokens=-1),
    )

    with pytest.raises(msgspec.ValidationError, match="input_tokens"):
        usage.decode(usage.encode(usage.recorded(fact, Numbered(epoch=new_id(), sequence=1))))


replies = st.one_of(
    st.builds(
        inference.Answered,
        result=st.binary(),
        quantities=quantities,
        timing=st.builds(inference.Timing, st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1e6)),
        room=counts,
        idle=st.booleans(),
    ),
    st.builds(inference.Chunk, counts, st.binary(), quantities),
    st.builds(
        inference.Ended,
        st.sampled_from(["stop", "length", "cancelled"]),
        counts,
        quantities,
        st.just(inference.Timing()),
    ),
    st.builds(inference.Refused, st.text(), st.text(), st.integers(400, 499), st.none() | names),
    st.builds(inference.Busy, counts, st.floats(0, 1e6)),
    st.builds(inference.Expired, quantities),
    st.just(inference.Failed()),
    st.just(inference.Working()),
)


@given(replies)
def test_replies_come_back_as_they_were(reply: inference.Reply) -> None:
    assert inference.decode_reply(inference.encode(reply)) == reply


@given(
    st.builds(inference.Ask, ids, st.uuids(), st.floats(0, 1e10), st.binary(), st.integers(-9, 9))
)
def test_asks_come_back_as_they_were(ask: inference.Ask) -> None:
    assert inference.decode_ask(inference.encode(ask)) == ask


@given(ids, counts)
def test_what_an_edge_says_of_a_stream_comes_back_as_it_was(request_id: UUID, chunks: int) -> None:
    assert inference.cancelled(inference.cancel_subject(request_id)) == request_id
    assert inference.decode_read(inference.encode_read(chunks)) == chunks


def test_announcements_come_back_as_they_were() -> None:
    announced = ModelAnnounced(
        model=ModelDeclared(name="custom_model/7", source="echo:", tasks=("echo",)),
        worker_id=new_id(),
        until=1.5,
    )

    assert models.decode(models.encode(announced)) == announced
    assert models.subject(announced).count(".") == 2


@given(ids)
def test_an_id_has_the_time_that_it_was_minted_with(identifier: UUID) -> None:
    assert time_of(identifier).timestamp() * 1_000 == pytest.approx(identifier.int >> 80)


def test_an_id_of_another_version_has_no_time() -> None:
    with pytest.raises(ValueError, match="version 7"):
        time_of(UUID("5d0c6b5e-8c1a-4c3e-9d5c-0f6a4b1c2d3e"))
