from datetime import UTC, datetime, timedelta
from uuid import UUID

from events.ids import new_id
from ledger import _sql
from ledger.db import Connection
from ledger.requests import find_request
from ledger.usage import fold_usage
from tests.ledger.test_usage import id_at
from tests.usage import a_usage, recorded

SEARCH = _sql.load("requests.sql")["find_request"]


async def test_a_request_is_found_among_others_of_its_account(ledger: Connection) -> None:
    account_id = new_id()
    facts = [a_usage(account_id, input_words=number) for number in range(9)]
    await fold_usage(ledger, [recorded(fact) for fact in facts])

    found = await find_request(ledger, facts[4].request_id, account_id)

    assert found
    assert found.usage == facts[4]
    assert found.parts == 1
    assert await find_request(ledger, facts[4].request_id, new_id()) is None
    assert await find_request(ledger, facts[4].request_id, None) == found


async def test_a_request_is_looked_for_in_one_chunk_by_its_key(ledger: Connection) -> None:
    start = datetime(2026, 3, 1, 12, tzinfo=UTC)
    ids = [id_at(start + timedelta(days=day)) for day in range(5)]
    await fold_usage(ledger, [recorded(a_usage(request_id=request_id)) for request_id in ids])

    plan = await _explained(ledger, ids[2], start + timedelta(days=2))

    assert plan.count(" on _hyper_") == 1, plan
    assert "Index Scan" in plan or "Index Only Scan" in plan, plan
    assert "usage_events_pkey" in plan, plan


async def _explained(ledger: Connection, request_id: UUID, time: datetime) -> str:
    await ledger.execute("SET enable_seqscan = off")  # there are a few rows only
    rows = await ledger.fetch(f"EXPLAIN {SEARCH}", request_id, time, None)
    return "\n".join(row[0] for row in rows)
