"""Several edges' admission in one process, on real servers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from edge.admission import Admission, Admitted
from edge.auth import Caller
from edge.plans import RunningPlans
from events import broker
from events.accounts import Account, ApiKey
from events.direct import Direct
from events.ids import new_id
from events.usage import Quantities
from ledger.db import Pool

WORDS = Quantities(input_words=10)


def a_plan(*policies: str, more: str = "") -> str:
    return f'[[plan]]\nname = "default"\n{more}\n' + "".join(
        f"[[plan.policy]]\n{policy}\n" for policy in policies
    )


def requests(limit: int, window: str = "day", name: str = "some", more: str = "") -> str:
    return f'name = "{name}"\nunit = "requests"\nlimit = {limit}\nwindow = "{window}"\n{more}'


def words(limit: int, window: str = "day") -> str:
    return f'name = "words"\nunit = "input_words"\nlimit = {limit}\nwindow = "{window}"'


def a_caller(**fields: object) -> Caller:
    account_id = new_id()
    now = datetime.now(UTC)
    account = Account(id=account_id, name="", created_at=now)
    key = ApiKey(id=f"key-{account_id}", account_id=account_id, name="", created_at=now)
    return Caller(replace(account, **fields), key)


class Edges(Struct):
    """Several edges' admission, each on a connection of its own."""

    nats_url: str
    pool: Pool
    plans: Path
    stack: AsyncExitStack

    async def start(self, *, hold_s: float = 30.0, url: str = "") -> Admission:
        return await self.stack.enter_async_context(self._edge(hold_s, url or self.nats_url))

    @asynccontextmanager
    async def _edge(self, hold_s: float, url: str) -> AsyncIterator[Admission]:
        connection = await broker.connect(url, "edge")
        direct = Direct(connection)
        await direct.start()
        admission = Admission(
            connection, direct, self.pool, RunningPlans(self.plans), hold_s=hold_s
        )
        running = asyncio.create_task(admission.run())
        await asyncio.sleep(0)
        try:
            yield admission
        finally:
            running.cancel()
            await connection.close()

    def plan(self, *policies: str, more: str = "") -> None:
        self.plans.write_text(a_plan(*policies, more=more))


async def ask(
    admission: Admission, caller: Caller, most: Quantities = WORDS, at: UUID | None = None
) -> Admitted:
    return await admission.admit(caller, "model", "task", at or new_id(), lambda: most)


async def answer(admitted: Admitted, used: Quantities = WORDS) -> None:
    await admitted.settle(admitted.priced(used))
    admitted.end()
