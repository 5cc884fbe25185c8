"""`tollgate stripe sync | sweep | status`, as somebody types them."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator

import pytest

from ledger.db import Connection
from ledger.stripe.passes import SYNC, find_pass
from tests.stripe.app import KEY
from tests.stripe.running import StandIn, standing_in
from tests.waiting import until


@pytest.fixture
async def stand_in() -> AsyncIterator[StandIn]:
    async with standing_in() as running:
        yield running


class Shell:
    """A person with a terminal."""

    def __init__(self, database_url: str, url: str, key: str = KEY) -> None:
        self._environment = {
            **os.environ,
            "TOLLGATE_HOME": "/nowhere",
            "TOLLGATE_DATABASE_URL": database_url,
            "TOLLGATE_STRIPE_API_BASE": url,
            "TOLLGATE_STRIPE_API_KEY": key,
        }

    async def start(self, *words: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "deploy.cli", "stripe", *words),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._environment,
        )

    async def types(self, *words: str) -> tuple[int | None, str, str]:
        process = await self.start(*words)
        output, errors = await process.communicate()
        return process.returncode, output.decode(), errors.decode()


@pytest.fixture
def shell(database_url: str, stand_in: StandIn) -> Shell:
    return Shell(database_url, stand_in.url)


async def test_a_first_start_takes_over_and_a_sweep_finds_nothing(
    shell: Shell, stand_in: StandIn
) -> None:
    for number in range(120):
        stand_in.account.post("/v1/customers", name=str(number))

    status, output, bar = await shell.types("sync")
    _, again, _ = await shell.types("sync")
    swept = await shell.types("sweep")
    _, state, _ = await shell.types("status", "--json")

    assert (status, output) == (0, "120 objects, 120 of them new or changed\n")
    assert "8/8 lists" in bar
    assert again == "120 objects, 0 of them new or changed\n"
    assert swept[:2] == (0, "120 objects compared, 0 repaired\n")
    assert [(one["name"], one["passed"], one["error"]) for one in json.loads(state)] == [
        ("sweep", 120, ""),
        ("sync", 120, ""),
    ]


async def test_a_sweep_prints_what_it_repairs(shell: Shell, stand_in: StandIn) -> None:
    made = stand_in.account.post("/v1/customers", name="Ada")["id"]

    _, output, _ = await shell.types("sweep")
    _, nothing, _ = await shell.types("sweep", "--json")

    assert output == f"missing: customer {made}\n1 objects compared, 1 repaired\n"
    assert json.loads(nothing) == []


async def test_a_sync_that_is_killed_goes_on_where_it_was(
    shell: Shell, stand_in: StandIn, ledger: Connection
) -> None:
    for _ in range(250):
        stand_in.account.post("/v1/customers")
    stand_in.control.fail(path="/v1/customers", skip=2, delay_s=600)
    process = await shell.start("sync")

    async def hangs() -> bool:
        return stand_in.requests("GET", "/v1/customers") == 3

    await until(hangs)
    process.send_signal(signal.SIGKILL)
    await process.communicate()
    killed = await find_pass(ledger, SYNC)
    status, output, _ = await shell.types("sync")

    assert killed
    assert killed.passed == 200
    assert (status, output) == (0, "250 objects, 250 of them new or changed\n")
    assert stand_in.requests("GET", "/v1/customers") == 4


@pytest.mark.parametrize("command", ["sync", "sweep"])
async def test_without_a_key_they_say_what_is_missing(database_url: str, command: str) -> None:
    status, _, errors = await Shell(database_url, "", key="").types(command)

    assert status == 1
    assert "tollgate: set TOLLGATE_STRIPE_API_KEY to a secret or restricted key" in errors


async def test_a_failure_is_said_in_one_line_and_shown_by_status(
    shell: Shell, stand_in: StandIn
) -> None:
    stand_in.control.revoke(KEY)

    status, output, errors = await shell.types("sweep")
    _, state, _ = await shell.types("status")

    assert (status, output) == (1, "")
    assert "StripeKeyRefused: Invalid API Key provided" in errors
    assert "StripeKeyRefused" in state
