"""`tollgate stripe meter`, as it is typed."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ledger.accounts import create_account
from ledger.db import Connection
from ledger.stripe.meters import find_parked
from tests.consumers.exporting import Books
from tests.stripe.app import KEY
from tests.stripe.running import standing_in

PLANS = '[[plan]]\nname = "default"\n\n[[meter]]\nevent_name = "words"\nunit = "output_words"\n'


class Terminal:
    """A shell in which everything is set."""

    def __init__(self, books: Books, plans: Path) -> None:
        self.books = books
        self.environment = {
            **os.environ,
            "TOLLGATE_HOME": "/nowhere",
            "TOLLGATE_DATABASE_URL": books.database_url,
            "TOLLGATE_STRIPE_API_KEY": KEY,
            "TOLLGATE_STRIPE_API_BASE": books.stripe.url,
            "TOLLGATE_PLANS_FILE": str(plans),
        }

    async def meter(self, *arguments: str) -> tuple[int, str, str]:
        """Status, output and errors of `tollgate stripe meter`."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "deploy.cli", "stripe", "meter", *arguments),
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        return process.returncode or 0, output.decode(), errors.decode()


@pytest.fixture
async def terminal(
    ledger: Connection, database_url: str, tmp_path: Path
) -> AsyncIterator[Terminal]:
    (tmp_path / "plans.toml").write_text(PLANS)
    async with standing_in(seed=1) as stripe:
        yield Terminal(Books(ledger, database_url, stripe), tmp_path / "plans.toml")


async def test_it_tells_stripe_and_shows_how_far_it_is(terminal: Terminal) -> None:
    books = terminal.books
    books.a_meter()
    await books.use(await books.a_customer(), 7)
    nobody = await create_account(books.ledger, "Bob")
    await books.use(nobody.id, 5)

    _, before, _ = await terminal.meter("--status")
    status, output, _ = await terminal.meter()
    _, after, _ = await terminal.meter("--status", "--json")

    assert not before.strip().splitlines()[1:]
    assert status == 0
    assert "1 frozen, 1 sent, 0 parked" in output
    assert "words: 5 of 1 accounts that are no customers" in output
    (sent,) = json.loads(after)["events"]
    assert sent == {"event_name": "words", "fate": "sent", "events": 1, "amount": 7}
    assert books.told().total() == 7


async def test_what_is_parked_is_released_or_written_off(terminal: Terminal) -> None:
    books = terminal.books
    books.a_meter()
    for _ in range(2):
        await books.use(await books.a_customer(), 7)
    books.stripe.control.fail(path="/v1/billing/meter_events", status=400, times=2)

    _, output, _ = await terminal.meter()
    first, _ = await find_parked(books.ledger, 10)
    silent = await terminal.meter("--write-off", str(first.identifier))
    await terminal.meter("--write-off", str(first.identifier), "--reason", "charged by hand")
    again = await terminal.meter("--write-off", str(first.identifier), "--reason", "charged")
    _, released, _ = await terminal.meter("--release")

    assert f"parked {first.identifier}: 7 words of {first.customer}" in output
    assert (silent[0], "--reason" in silent[2]) == (2, True)
    assert (again[0], "no meter event" in again[2]) == (1, True)
    assert "0 frozen, 1 sent, 0 parked" in released
    assert sorted(fate for *_, fate in await books.events()) == ["sent", "written off"]


async def test_what_is_missing_is_named(terminal: Terminal) -> None:
    del terminal.environment["TOLLGATE_STRIPE_API_KEY"]
    without_key = await terminal.meter()
    terminal.environment["TOLLGATE_PLANS_FILE"] = ""
    without_meters = await terminal.meter()

    assert without_key[2].startswith("tollgate: set TOLLGATE_STRIPE_API_KEY")
    assert without_meters[2].startswith("tollgate: no [[meter]] in the file")
