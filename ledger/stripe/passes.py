"""How far the passes over Stripe's lists have come, and what became of the last ones."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import asyncpg
from msgspec import Struct

from ledger import _sql
from ledger.db import Connection

_SQL: Final = _sql.load("stripe_passes.sql")

POLL: Final = "poll"
SWEEP: Final = "sweep"
SYNC: Final = "sync"
LONGEST_S: Final = 900.0  # after many failures: who mends the key wants to see that it works


class Pass(Struct, frozen=True, kw_only=True):
    """One kind of pass. What the fields mean stands in ledger/schema.sql."""

    name: str
    due_at: datetime
    due_in_s: float  # by PostgreSQL's clock; negative where it is overdue
    began_at: datetime | None
    finished_at: datetime | None
    failures: int
    error: str
    note: str
    cursor: int | None
    newest: int | None
    list: str
    after: str
    passed: int
    found: int


async def find_pass(connection: Connection, name: str) -> Pass | None:
    """What is known of a pass; None before the first one."""
    row = await connection.fetchrow(_SQL["find_pass"], name)
    return Pass(**row) if row else None


async def list_passes(connection: Connection) -> Sequence[Pass]:
    """All that ever began."""
    return [Pass(**row) for row in await connection.fetch(_SQL["list_passes"])]


async def begin_pass(connection: Connection, name: str) -> Pass:
    """Begin, or go on where the last one was cut short."""
    row = await connection.fetchrow(_SQL["begin_pass"], name)
    assert isinstance(row, asyncpg.Record)
    return Pass(**row)


async def move_pass(connection: Connection, pass_: Pass) -> None:
    """Note how far it has come: where the next one goes on if this is cut short."""
    await connection.execute(
        _SQL["move_pass"],
        pass_.name,
        pass_.cursor,
        pass_.newest,
        pass_.list,
        pass_.after,
        pass_.passed,
        pass_.found,
        pass_.note,
    )


async def finish_pass(connection: Connection, name: str, *, every_s: float) -> None:
    """It came to its end; the next one is due after `every_s` seconds."""
    await connection.execute(_SQL["finish_pass"], name, every_s)


async def fail_pass(connection: Connection, name: str, error: str, *, every_s: float) -> int:
    """It failed; each failure doubles the wait for the next one.

    Returns:
        How many failed in a row.
    """
    failures = await connection.fetchval(_SQL["fail_pass"], name, error, every_s, LONGEST_S)
    return int(failures)


async def hasten_pass(connection: Connection, name: str) -> None:
    """Let the next one be due now."""
    await connection.execute(_SQL["hasten_pass"], name)


async def find_lacking(connection: Connection, event_ids: Sequence[str]) -> set[str]:
    """Those of these events that the journal does not have."""
    return {row["id"] for row in await connection.fetch(_SQL["find_lacking"], event_ids)}
