"""`tollgate stripe history | replay | rebuild`, as they are typed."""

import asyncio
import json
import os
import sys
from typing import Any

import pytest

from events.ids import new_id
from ledger.accounts import change_account, create_account
from ledger.db import Connection
from tests.ledger.test_stripe import an_event, deliver


class Typed:
    """A terminal with a ledger."""

    def __init__(self, database_url: str) -> None:
        self._environment = {
            **os.environ,
            "TOLLGATE_HOME": "/nowhere",
            "TOLLGATE_DATABASE_URL": database_url,
        }

    async def __call__(self, *arguments: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "deploy.cli", "stripe", *arguments),
            env=self._environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        return process.returncode or 0, output.decode(), errors.decode()

    async def json(self, *arguments: str) -> Any:
        status, output, errors = await self(*arguments)
        assert (status, errors) == (0, "")
        return json.loads(output)


@pytest.fixture
def tollgate(database_url: str) -> Typed:
    return Typed(database_url)


async def test_history_tells_how_an_object_was(tollgate: Typed, ledger: Connection) -> None:
    await deliver(
        ledger,
        an_event("evt_1", type="customer.created", name="a"),
        an_event("evt_2", second=120, name="b"),
    )

    then = await tollgate.json("history", "cus_1", "--at", "2026-03-01T12:01")
    events = await tollgate.json("history", "cus_1", "--json")
    status, table, _ = await tollgate("history", "cus_1")

    assert (then["event_id"], then["object"]["name"]) == ("evt_1", "a")
    assert [event["id"] for event in events] == ["evt_2", "evt_1"]
    assert status == 0
    assert "customer.created" in table


async def test_history_tells_an_accounts_plan_and_limits(
    tollgate: Typed, ledger: Connection
) -> None:
    account = await create_account(ledger, "Ada")
    before = await ledger.fetchval("SELECT clock_timestamp()")
    await change_account(ledger, account.id, {"limits": {"requests": 5}})

    then = await tollgate.json("history", str(account.id), "--at", before.isoformat())
    changes = await tollgate.json("history", str(account.id), "--json")

    assert (then["plan"], then["limits"]) == ("default", {})
    assert [change["limits"] for change in changes] == [{"requests": 5}, {}]


async def test_what_is_unknown_is_said_in_one_line(tollgate: Typed) -> None:
    for arguments in (
        ("history", str(new_id())),
        ("history", "cus_nobody", "--at", "2026-03-01"),
        ("replay", "evt_nobody"),
    ):
        status, output, errors = await tollgate(*arguments)

        assert (status, output) == (1, "")
        assert errors.startswith("tollgate: ")
        assert errors.count("\n") == 1


async def test_a_replay_says_whether_it_changed_anything(
    tollgate: Typed, ledger: Connection
) -> None:
    await deliver(ledger, an_event("evt_1"))
    _, nothing, _ = await tollgate("replay", "evt_1")
    await ledger.execute("DELETE FROM stripe_objects")

    _, something, _ = await tollgate("replay", "evt_1")

    assert nothing.startswith("nothing changed")
    assert something == "changed: cus_1\n"


async def test_a_rebuild_mends_only_when_told(tollgate: Typed, ledger: Connection) -> None:
    await deliver(ledger, an_event("evt_1"))
    await ledger.execute("DELETE FROM stripe_objects")

    found = await tollgate("rebuild")
    mended = await tollgate("rebuild", "--apply")
    after = await tollgate.json("rebuild", "--json")

    assert found[0] == 1
    assert "missing" in found[1]
    assert "1 differences found" in found[1]
    assert mended[0] == 0
    assert after == {"events": 1, "differences": [], "unexplained": []}
