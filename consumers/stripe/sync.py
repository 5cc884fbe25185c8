"""Takes over all that Stripe lists: the first start, or after a long absence."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import structlog
from msgspec.structs import replace

from consumers.stripe.fitness import storable
from consumers.stripe.lists import ALL, AT_ONCE, Denied, Listed, ask_for, wanted_summaries
from events.plans import Plans
from ledger.db import Connection
from ledger.errors import StripeRefused
from ledger.stripe.api import Json, StripeApi
from ledger.stripe.comparison import list_entitled
from ledger.stripe.entitlements import follow
from ledger.stripe.fetch import SUMMARY
from ledger.stripe.objects import asking_at, store_objects
from ledger.stripe.passes import Pass, move_pass

log = structlog.get_logger()

LISTS: Final = (*(one.path for one in ALL), SUMMARY)


class Sync:
    """One pass over everything, that goes on where it was cut short.

    Args:
        api: Stripe's.
        plans: By which prices become plans.
        tell: Is told after each page how far it is.
    """

    def __init__(self, api: StripeApi, plans: Plans, tell: Callable[[Pass], None]) -> None:
        self._api = api
        self._plans = plans
        self._tell = tell

    async def run(self, ledger: Connection, begun: Pass) -> Pass:
        """Store page by page, with the place after it in the same transaction.

        What a restricted key may not read is passed over, and in the end said.

        Raises:
            StripeError, OSError, TimeoutError: go on later.
            LedgerUnavailable, asyncpg.PostgresError: as well.
        """
        state = begun if begun.list in LISTS else replace(begun, list=LISTS[0], after="")
        denied = Denied()
        for path in LISTS[LISTS.index(state.list) :]:
            state = _at(state, path)
            with denied.passing_over(path):
                state = await self._take_over(ledger, state)
        done = replace(state, list="", after="")
        await move_pass(ledger, done)
        denied.say()
        return done

    async def _take_over(self, ledger: Connection, state: Pass) -> Pass:
        for one in ALL:
            if one.path == state.list:
                return await self._list(ledger, one, state)
        return await self._summaries(ledger, state)

    async def _list(self, ledger: Connection, one: Listed, state: Pass) -> Pass:
        has_more = True
        while has_more:
            asked = await asking_at(ledger)
            after = {"starting_after": state.after} if state.after else {}
            try:
                objects, has_more = await self._api.page(one.path, **one.params, **after)
            except StripeRefused as refused:
                if not state.after or refused.param != "starting_after":
                    raise
                state = replace(state, after="")  # what was last is deleted: from the beginning
                continue
            last = objects[-1]["id"] if objects else ""
            state = await self._store(
                ledger, state, storable(one.kind, objects), asked, passed=len(objects), after=last
            )
        return state

    async def _summaries(self, ledger: Connection, state: Pass) -> Pass:
        while customers := await list_entitled(ledger, state.after, limit=AT_ONCE):
            asked = await asking_at(ledger)
            summaries = storable(SUMMARY, await ask_for(self._api, wanted_summaries(customers)))
            state = await self._store(
                ledger, state, summaries, asked, passed=len(summaries), after=customers[-1]
            )
        return state

    async def _store(
        self,
        ledger: Connection,
        state: Pass,
        objects: Sequence[Json],
        asked: datetime,
        *,
        passed: int,
        after: str,
    ) -> Pass:
        async with ledger.transaction():
            changed = await store_objects(ledger, objects, fetched_at=asked)
            await follow(ledger, changed.customers, self._plans, why="synchronized")
            moved = replace(
                state,
                after=after,
                passed=state.passed + passed,
                found=state.found + len(changed.objects),
            )
            await move_pass(ledger, moved)
        self._tell(moved)
        return moved


def _at(state: Pass, path: str) -> Pass:
    """At the beginning of a list, unless it was there already."""
    return state if state.list == path else replace(state, list=path, after="")
