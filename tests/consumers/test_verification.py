"""What is deleted, doubled or altered, in the ledger or in the stream, is named."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from consumers.audits import audit
from consumers.verification import Verifier
from events import audits, edges, streams, usage
from events.audits import UsageAudited
from events.edges import EdgeCounted
from events.ids import new_id
from events.usage import Numbered, UsageEvent
from ledger.db import Connection, create_pool
from ledger.errors import NothingToRebuildFrom
from ledger.usage import fold_usage
from ledger.verification import HOUR, full_hour, rebuild_totals
from tests.consumers.pipeline import Pipeline
from tests.usage import a_usage, recorded

KEPT = timedelta(days=90)


class Books:
    """Ten events of one edge, folded; and what a verification says of them."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.epoch = new_id()
        self.account_id = new_id()
        self.events = [self.event(number) for number in range(1, 11)]

    def event(self, number: int) -> UsageEvent:
        fact = a_usage(self.account_id, input_tokens=number, cost=7)
        return usage.recorded(fact, Numbered(epoch=self.epoch, sequence=number))

    async def tell(self, sequence: int = 10) -> None:
        counted = EdgeCounted(epoch=self.epoch, sequence=sequence)
        jetstream = self.pipeline.nats.jetstream()
        await jetstream.publish(counted.subject, edges.encode(counted))

    async def fold(self) -> None:
        async with self.pipeline.consuming():
            await self.pipeline.until_settled()

    async def execute(self, sql: str, number: int = 4) -> None:
        await self.pipeline.ledger.execute(sql, self.events[number - 1].data.request_id)

    async def verify(self) -> UsageAudited:
        now = datetime.now(UTC)
        verifier = Verifier(
            self.pipeline.nats,
            self.pipeline.ledger,
            since=now - timedelta(days=1),
            until=now + timedelta(minutes=1),
            kept_since=now - KEPT,
        )
        return await verifier.verify(read_stream=True)


@pytest.fixture
async def books(pipeline: Pipeline) -> Books:
    """Stated and folded, and nothing wrong with it yet."""
    found = Books(pipeline)
    await pipeline.deliver(*found.events)
    await found.tell()
    await found.fold()
    return found


def kinds(found: UsageAudited) -> Sequence[str]:
    return [one.kind for one in found.findings]


async def test_books_that_balance_have_nothing_to_say(books: Books) -> None:
    found = await books.verify()

    assert (found.events, found.missing, found.double) == (10, 0, 0)
    assert found.balanced
    assert not found.findings


async def test_a_row_that_is_deleted_is_missed_by_its_number(books: Books) -> None:
    await books.execute("DELETE FROM usage_events WHERE request_id = $1")
    found = await books.verify()

    assert (found.events, found.missing, found.double) == (9, 1, 0)
    gap, total, row = found.findings
    assert (gap.kind, gap.what) == ("missing", f"number 4 of edge {books.epoch}")
    assert total.kind == "total"
    assert "events add up to" in total.what
    assert str(books.events[3].data.request_id) in row.what
    assert not found.balanced


@pytest.mark.parametrize("number", [1, 10])
async def test_the_first_and_the_last_are_missed_too(books: Books, number: int) -> None:
    await books.execute("DELETE FROM usage_events WHERE request_id = $1", number)
    found = await books.verify()

    assert found.missing == 1
    assert found.findings[0].what == f"number {number} of edge {books.epoch}"


async def test_all_that_an_edge_stated_may_be_missed(books: Books) -> None:
    await books.pipeline.ledger.execute("TRUNCATE usage_events, usage_totals")
    found = await books.verify()

    assert (found.events, found.missing) == (0, 10)
    assert found.findings[0].what == f"numbers 1 to 10 of edge {books.epoch}"


async def test_a_row_that_is_doubled_is_named(books: Books) -> None:
    """The key takes no repeat: so it is one with another id, or another time."""
    columns = "account_id, key_id, model, task, status, duration_ms, epoch, sequence, requests"
    await books.execute(
        f"""INSERT INTO usage_events (started_at, request_id, part, voids, input_tokens,
            output_tokens, input_words, output_words, input_characters, output_characters,
            device_ms, {columns})
        SELECT started_at + interval '1 ms', request_id, part, voids, 0, 0, 0, 0, 0, 0, 0, {columns}
        FROM usage_events WHERE request_id = $1"""
    )
    found = await books.verify()

    assert (found.missing, found.double) == (0, 1)
    assert kinds(found) == ["double", "total"]
    assert found.findings[0].what.startswith(f"number 4 of edge {books.epoch}")


async def test_a_row_that_is_altered_is_named_with_its_field(books: Books) -> None:
    await books.execute("UPDATE usage_events SET cost = 700 WHERE request_id = $1")
    found = await books.verify()

    assert kinds(found) == ["total", "altered"]
    assert "763 cost, totals say 70 cost" in found.findings[0].what
    assert found.findings[1].what.endswith("the ledger has another cost than the stream")


async def test_a_total_that_is_altered_or_deleted_is_named(books: Books) -> None:
    await books.pipeline.ledger.execute("UPDATE usage_totals SET output_words = 5")
    altered = await books.verify()
    await books.pipeline.ledger.execute("DELETE FROM usage_totals")
    deleted = await books.verify()

    assert "add up to 0 output_words, totals say 5 output_words" in altered.findings[0].what
    assert "55 input_tokens" in deleted.findings[0].what


async def test_a_message_that_is_deleted_before_it_is_folded_is_missed(pipeline: Pipeline) -> None:
    books = Books(pipeline)
    await pipeline.deliver(*books.events)
    await books.tell()
    await pipeline.nats.jetstream().delete_msg(streams.USAGE, 6)
    await books.fold()
    found = await books.verify()

    assert (found.events, found.missing) == (9, 1)
    assert found.findings[0].what == f"number 6 of edge {books.epoch}"
    assert "numbers 6 to 6" in found.findings[1].what


async def test_a_message_that_is_deleted_later_is_named(books: Books) -> None:
    await books.pipeline.nats.jetstream().delete_msg(streams.USAGE, 6)
    found = await books.verify()

    assert (found.missing, kinds(found)) == (0, ["missing"])
    assert "not in the stream any more" in found.findings[0].what


async def test_a_message_that_is_doubled_or_altered_is_named(books: Books) -> None:
    altered = replace(books.events[2], data=replace(books.events[2].data, model="another"))
    await books.pipeline.deliver(books.events[4], altered)
    await books.fold()
    found = await books.verify()

    assert (found.missing, found.double) == (0, 0)  # in the ledger
    assert kinds(found) == ["double", "double", "altered"]
    assert "repeats request " + str(books.events[4].data.request_id) in found.findings[0].what
    assert found.findings[2].what.endswith("the ledger has another model than the stream")


async def test_what_is_parked_is_known_of_and_not_missed(books: Books) -> None:
    event = books.event(11)
    unfit = replace(event, data=replace(event.data, model="\0"))
    await books.pipeline.publish(usage.subject(event.data), usage.encode(unfit))
    await books.tell(11)
    await books.fold()
    found = await books.verify()

    assert (found.missing, kinds(found)) == (0, ["parked"])
    assert found.balanced


async def test_what_waits_to_be_folded_is_said_so(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumers.verification.FOLDED_S", 0.2)
    await books.pipeline.deliver(books.event(11))
    found = await books.verify()

    assert kinds(found)[0] == "unfolded"


async def test_an_audit_is_published_and_measured(books: Books) -> None:
    async with create_pool(books.pipeline.database_url) as pool:
        found = await audit(books.pipeline.nats, pool, KEPT)
        message = await books.pipeline.nats.jetstream().get_last_msg(streams.AUDITS, audits.USAGE)

    assert found
    assert message.data
    assert audits.decode(message.data) == found
    assert (found.events, found.balanced) == (10, True)


async def test_totals_are_rebuilt_while_usage_is_folded(
    ledger: Connection, database_url: str
) -> None:
    account_id, hour = new_id(), full_hour(datetime.now(UTC))
    first = [recorded(a_usage(account_id, input_tokens=1)) for _ in range(100)]
    await fold_usage(ledger, first)
    await ledger.execute("UPDATE usage_totals SET input_tokens = 0, model = 'wrong'")

    async with create_pool(database_url) as pool, asyncio.TaskGroup() as tasks:

        async def fold() -> None:
            for _ in range(20):
                async with pool.acquire() as connection:
                    await fold_usage(connection, [recorded(a_usage(account_id, input_tokens=1))])

        for _ in range(3):
            tasks.create_task(fold())
        for _ in range(5):
            await rebuild_totals(ledger, hour, hour + 2 * HOUR, kept_since=hour - KEPT)

    rows = await ledger.fetch("SELECT model, requests, input_tokens FROM usage_totals")
    assert [tuple(row) for row in rows] == [("echo", 160, 160)]


async def test_what_cannot_be_rebuilt_stays_as_it_is(ledger: Connection) -> None:
    hour = full_hour(datetime.now(UTC))
    await fold_usage(ledger, [recorded(a_usage(input_tokens=3))])
    with pytest.raises(NothingToRebuildFrom, match="all are kept since"):
        await rebuild_totals(ledger, hour - KEPT, hour + HOUR, kept_since=hour - HOUR)
    await ledger.execute("DELETE FROM usage_events")
    with pytest.raises(NothingToRebuildFrom, match="are gone; its totals are all that is left"):
        await rebuild_totals(ledger, hour, hour + HOUR, kept_since=hour - KEPT)

    assert await ledger.fetchval("SELECT sum(input_tokens)::int FROM usage_totals") == 3
