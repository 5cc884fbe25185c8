"""Two tenants never see each other's rows, even where the first wall is gone."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest
from msgspec.structs import replace

from events.ids import new_id
from ledger import reports, requests
from ledger.db import Connection
from ledger.questions import Wanted, read_question
from ledger.reports import report_usage
from ledger.tenants import as_tenant
from ledger.usage import fold_usage
from tests.usage import a_usage, recorded

MINE, THEIRS = new_id(), new_id()


@pytest.fixture
async def request_id(ledger: Connection) -> UUID:
    """Theirs; both have used something."""
    theirs = recorded(a_usage(THEIRS, cost=100))
    await fold_usage(ledger, [recorded(a_usage(MINE, cost=1)), theirs])
    return theirs.data.request_id


@pytest.mark.usefixtures("request_id")
@pytest.mark.parametrize("bucket", ["hour", "minute"])
async def test_a_report_without_its_filter_has_only_ones_own(
    ledger: Connection, monkeypatch: pytest.MonkeyPatch, bucket: reports.Bucket
) -> None:
    now = datetime.now(UTC)
    question = read_question(
        Wanted(bucket=bucket, since=now - timedelta(hours=1), group_by=["account"], latency=True),
        now=now,
    )
    everybody = UUID(int=0), UUID(int=2**128 - 1)
    monkeypatch.setattr(reports, "_accounts", lambda _: everybody)

    mine = await report_usage(ledger, replace(question, account_id=MINE))
    control = await report_usage(ledger, question)

    assert {(row.account_id, row.cost) for row in mine.rows} == {(str(MINE), 1)}
    assert {row.account_id for row in control.rows} == {str(MINE), str(THEIRS)}


async def test_a_request_of_somebody_else_is_not_there_without_its_filter(
    ledger: Connection, request_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    filtered = requests._SQL["find_request"]  # noqa: SLF001 - there is no public way to break it
    unfiltered = filtered.replace("account_id = $3", "$3::uuid IS NOT NULL")
    assert unfiltered != filtered
    monkeypatch.setattr(requests, "_SQL", {"find_request": unfiltered})

    assert await requests.find_request(ledger, request_id, MINE) is None
    assert await requests.find_request(ledger, request_id, None)


@pytest.mark.usefixtures("request_id")
async def test_a_tenant_reads_nothing_else_and_is_forgotten_afterwards(ledger: Connection) -> None:
    for sql in (
        "SELECT * FROM public.usage_events",
        "SELECT * FROM public.usage_totals",
        "SELECT * FROM public.usage_by_minute",
        "SELECT * FROM public.api_keys",
        "DELETE FROM usage_totals",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with as_tenant(ledger, MINE):
                await ledger.execute(sql)

    assert await ledger.fetchval("SELECT count(*) FROM usage_totals") == 2


async def test_nobody_in_particular_sees_nothing(ledger: Connection) -> None:
    with pytest.raises(asyncpg.PostgresError):
        await ledger.fetch("SELECT * FROM tenant.usage_totals")
