"""What was agreed with whom, and when: each change of an account's terms, and of a plan's."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Struct

from events.plans import Plans
from ledger import _sql
from ledger.db import Connection

_SQL = _sql.load("plan_changes.sql")


class PlanChange(Struct, frozen=True, kw_only=True):
    """An account's terms from a moment on. Money in billionths."""

    at: datetime
    plan_before: str | None  # none: it was new
    plan: str
    operator_plan: str  # where `stripe_plan` is none, this one holds
    stripe_plan: str | None
    limits: dict[str, int | str]  # of its own, by a policy's name, instead of the plan's
    concurrency: int | None
    monthly_budget: int | None
    own_budget: int | None
    why: str  # an event's id, or `operator`, `customer`, `timer`, `plans file`, `migration`


class TermsAt(PlanChange, frozen=True, kw_only=True):
    """The terms that held at a moment."""

    terms: dict[str, Any] | None  # the plan itself, as the plans file said then; none: unknown


async def record_changes(connection: Connection, reasons: Mapping[UUID, str]) -> None:
    """Record how accounts are from now on, where that differs from before, and why.

    In the transaction that changes them, after it raised their versions.
    """
    await connection.execute(_SQL["record_changes"], list(reasons), list(reasons.values()))


async def find_terms(connection: Connection, account_id: UUID, at: datetime) -> TermsAt | None:
    """An account's plan and limits as they were at a moment; none before it was there."""
    row = await connection.fetchrow(_SQL["terms_at"], account_id, at)
    if row is None:
        return None
    terms = row["terms"] and msgspec.json.decode(row["terms"])
    return TermsAt(**{**_read(row), "terms": terms})


async def list_changes(
    connection: Connection, account_id: UUID, *, limit: int = 100
) -> Sequence[PlanChange]:
    """How an account's terms changed, newest first."""
    rows = await connection.fetch(_SQL["list_changes"], account_id, limit)
    return [PlanChange(**_read(row)) for row in rows]


async def record_plans(connection: Connection, plans: Plans) -> None:
    """Record what the plans file says, where that differs from before."""
    async with connection.transaction():
        await connection.execute(_SQL["lock_plans"])
        terms = [msgspec.json.encode(plan).decode() for plan in plans.values()]
        await connection.execute(_SQL["record_plans"], list(plans), terms)


def _read(row: asyncpg.Record) -> dict[str, Any]:
    return {**row, "limits": msgspec.json.decode(row["limits"])}
