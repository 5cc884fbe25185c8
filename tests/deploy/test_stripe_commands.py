"""`tollgate stripe link` and `waiting`, as typed."""

import asyncio
import os
import sys

from ledger.accounts import create_account, find_account
from ledger.db import Connection
from tests.stripe.app import KEY
from tests.stripe.running import standing_in


async def tollgate(*arguments: str, database: str, stripe: str = "") -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "deploy.cli",
        "stripe",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={
            **os.environ,
            "TOLLGATE_HOME": "/nowhere",
            "TOLLGATE_DATABASE_URL": database,
            "TOLLGATE_STRIPE_API_KEY": KEY if stripe else "",
            "TOLLGATE_STRIPE_API_BASE": stripe,
        },
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def test_the_operator_links_by_hand(ledger: Connection, database_url: str) -> None:
    account = await create_account(ledger, "Ada")
    id_ = str(account.id)
    async with standing_in() as stripe:
        made = stripe.account.post("/v1/customers", email="ada@example.com")
        url = stripe.url
        before, without_key, unknown = await asyncio.gather(
            tollgate("waiting", database=database_url),
            tollgate("link", id_, made["id"], database=database_url),
            tollgate("link", id_, "cus_nobody", database=database_url, stripe=url),
        )
        linked = await tollgate("link", id_, made["id"], database=database_url, stripe=url)
        after = await tollgate("waiting", database=database_url)
    found = await find_account(ledger, account.id)

    assert id_ in before[1]
    assert (without_key[0], "TOLLGATE_STRIPE_API_KEY" in without_key[1]) == (1, True)
    assert (unknown[0], "No such customer" in unknown[1]) == (1, True)
    assert linked == (0, f"account {id_} is customer {made['id']}\n")
    assert id_ not in after[1]
    assert found
    assert found.stripe_customer == made["id"]
