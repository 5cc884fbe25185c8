"""What is to be announced on NATS, written in the transaction that makes it true.

A relay publishes it and forgets it. Killed in between it publishes again, which
changes nothing: announcements say how things are.
"""

from collections.abc import Sequence

from msgspec import Struct

from ledger import _sql
from ledger.db import Connection

_SQL = _sql.load("outbox.sql")

CHANNEL = "outbox"  # which PostgreSQL notifies when there is something


class Outgoing(Struct, frozen=True):
    """One message to publish."""

    id: int
    subject: str
    payload: bytes


async def announce(connection: Connection, subject: str, payload: bytes) -> None:
    """Have something published once the transaction is committed."""
    await announce_all(connection, [(subject, payload)])


async def announce_all(connection: Connection, messages: Sequence[tuple[str, bytes]]) -> None:
    """Have payloads published, each on the subject before it, once the transaction is committed."""
    subjects, payloads = zip(*messages, strict=True)
    await connection.execute(_SQL["announce"], subjects, payloads)
    await connection.execute(_SQL["wake"])


async def oldest(connection: Connection, limit: int) -> Sequence[Outgoing]:
    """What waits, in the order in which it came."""
    return [Outgoing(**row) for row in await connection.fetch(_SQL["oldest"], limit)]


async def forget(connection: Connection, ids: Sequence[int]) -> None:
    """Drop what was published."""
    await connection.execute(_SQL["forget"], ids)
