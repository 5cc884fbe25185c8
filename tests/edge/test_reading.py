"""However slowly bodies are sent: a process holds only so much of them."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import UUID

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from edge import reading
from edge.errors import EdgeFull
from edge.reading import FREE_BYTES, READING, SHARES, Reading
from events.inference import Ask
from ledger.db import Connection
from tests.edge.raw import Heard, connected, one_answer
from tests.edge.running import Edge, answered, reply, running
from tests.waiting import until

BODY_BYTES = 2**20
SENT = BODY_BYTES - 4_096  # so that the end is missing, and there is no room for much more
ADA, BOB, *OTHERS = [UUID(int=number) for number in range(SHARES + 1)]


def refused(found: Reading, account_id: UUID | None, size: int, limit: int = 1) -> bool:
    try:
        found.hold(account_id, size, limit=limit)
    except EdgeFull:
        return True
    return False


def test_an_account_has_a_share_and_all_together_have_so_much() -> None:
    found = Reading()
    share = reading.READING_BYTES // SHARES

    assert not refused(found, ADA, share)
    assert refused(found, ADA, 1)
    assert not refused(found, None, share)
    assert refused(found, None, 1)
    for account_id in OTHERS[: SHARES - 2]:
        assert not refused(found, account_id, share)
    assert refused(found, BOB, 1)
    found.drop(ADA, share)
    assert not refused(found, BOB, share)
    assert found.held == reading.READING_BYTES


def test_a_body_that_is_alone_has_room_however_large_it_may_be() -> None:
    found = Reading()
    limit = 2 * reading.READING_BYTES

    assert not refused(found, ADA, limit, limit)
    assert refused(found, ADA, 1, limit)
    assert refused(found, BOB, 1, limit)


async def echo(message: Msg, ask: Ask) -> None:
    await reply(message, answered(ask.input))


@pytest.fixture
async def narrow(
    nats: Client,
    nats_url: str,
    database_url: str,
    ledger: Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Edge]:
    """An edge with room for two bodies."""
    monkeypatch.setattr(reading, "READING_BYTES", 2 * BODY_BYTES)
    async with running(nats, nats_url, database_url, ledger, max_body_bytes=BODY_BYTES) as edge:
        await edge.serve(echo, model="good")
        yield edge


def head_of(line: str, authorization: str, size: int) -> bytes:
    return (
        f"{line} HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\n"
        f"Stripe-Signature: t={time.time():.0f},v1=00\r\nContent-Length: {size}\r\n\r\n"
    ).encode()


def body_of(size: int) -> bytes:
    return b'{"text": "a"}'.ljust(size)


@asynccontextmanager
async def unfinished(edge: Edge, line: str) -> AsyncIterator[None]:
    """A large body, less its end, which never comes."""
    async with connected(edge.port) as (_, writer):
        writer.write(head_of(line, f"Bearer {edge.api_key}", BODY_BYTES) + body_of(SENT))
        await until(_holds(SENT - FREE_BYTES))
        yield
    await until(_holds(0))


def _holds(size: int) -> Callable[[], bool]:
    return lambda: READING.held == size


async def post(edge: Edge, line: str, authorization: str, size: int) -> Heard:
    """What is told to a body that comes in two pieces."""
    async with connected(edge.port) as (reader, writer):
        whole = head_of(line, authorization, size) + body_of(size)
        writer.write(whole[: -size // 2])
        await writer.drain()
        writer.write(whole[-size // 2 :])
        return await one_answer(reader)


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("POST /v1/good/echo", 200),
        ("POST /v1/completions", 400),
        ("PUT /v1/budget", 400),
        ("POST /webhooks/stripe", 400),
    ],
)
async def test_who_sends_slowly_is_refused_and_nobody_else(
    narrow: Edge, ledger: Connection, line: str, status: int
) -> None:
    mine, theirs = f"Bearer {narrow.api_key}", await narrow.stranger(ledger)
    large = BODY_BYTES // 2
    async with unfinished(narrow, line):
        refused = await post(narrow, line, mine, large)
        small = await post(narrow, line, mine, FREE_BYTES)
        other = await post(narrow, "POST /v1/good/echo", theirs, large)
    again = await post(narrow, line, mine, large)

    assert (refused.status, refused.json["code"]) == (503, "edge_full")
    assert refused.headers["retry-after"] == "1"
    assert (small.status, other.status, again.status) == (status, 200, status)
