"""Compares what the ledger has of Stripe's objects with Stripe, repairs and reports."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal

import msgspec
import structlog
from msgspec import Struct
from msgspec.structs import replace

from consumers import metrics
from consumers.stripe.fitness import storable
from consumers.stripe.lists import (
    AT_ONCE,
    PLANS_DEPEND_ON,
    Denied,
    Listed,
    ask_for,
    wanted_summaries,
)
from events.plans_file import PlansFile
from ledger.db import Connection
from ledger.errors import StripeKeyRefused, UnreadableObject
from ledger.stripe.api import Json, StripeApi, read
from ledger.stripe.comparison import (
    compare_objects,
    count_live,
    find_unlisted,
    forget_listed,
    list_entitled,
    note_listed,
)
from ledger.stripe.entitlements import follow
from ledger.stripe.fetch import SUMMARY, Wanted
from ledger.stripe.objects import asking_at, find_object, store_objects
from ledger.stripe.passes import Pass, move_pass

log = structlog.get_logger()

GRACE_S: Final = 5.0  # before a second look: the news of a difference may be on its way
FEW: Final = 10  # objects that may all be gone, without a doubt about the key
Kind = Literal["missing", "differs", "gone"]


class Difference(Struct, frozen=True):
    """What the ledger had otherwise than Stripe, and has no more."""

    kind: Kind
    type: str
    id: str
    fields: Sequence[str] = ()  # that differed

    def __str__(self) -> str:
        what = f"{self.kind}: {self.type} {self.id}"
        return f"{what} ({', '.join(self.fields)})" if self.fields else what


class _Entitlement(Struct, frozen=True):
    id: str


class _Entitlements(Struct, frozen=True):
    data: tuple[_Entitlement, ...]


class _Summary(Struct, frozen=True):
    entitlements: _Entitlements


class Sweep:
    """One pass over the lists that plans depend on."""

    def __init__(self, api: StripeApi, plans: PlansFile) -> None:
        self._api = api
        self._plans = plans
        self.differences: list[Difference] = []

    async def run(self, ledger: Connection, begun: Pass) -> Pass:
        """Compare and repair, list by list; how far it is is not kept, repairs are.

        What a restricted key may not read is passed over, and in the end said.

        Raises:
            StripeError, OSError, TimeoutError: go on later, from the beginning.
            LedgerUnavailable, asyncpg.PostgresError: as well.
        """
        self.differences.clear()
        passed, denied = 0, Denied()
        for one in PLANS_DEPEND_ON:
            with denied.passing_over(one.kind):
                passed += await self._list(ledger, one)
        with denied.passing_over(SUMMARY):
            passed += await self._summaries(ledger)
        counted = Counter[str](difference.kind for difference in self.differences)
        for kind in ("missing", "differs", "gone"):
            metrics.STRIPE_DIFFERENCES.labels(kind).set(counted[kind])
        done = replace(begun, passed=passed, found=len(self.differences))
        await move_pass(ledger, done)
        denied.say()
        return done

    async def _list(self, ledger: Connection, one: Listed) -> int:
        began = await asking_at(ledger)
        await forget_listed(ledger)
        passed, has_more = 0, True
        after: Json = {}
        while has_more:
            asked = await asking_at(ledger)
            objects, has_more = await self._api.page(one.path, **one.params, **after)
            await note_listed(ledger, [listed["id"] for listed in objects])
            await self._compare(ledger, one.kind, storable(one.kind, objects), asked)
            passed += len(objects)
            after = {"starting_after": objects[-1]["id"]} if objects else {}
        await self._look_for_gone(ledger, one.kind, began)
        return passed

    async def _compare(
        self, ledger: Connection, kind: str, objects: Sequence[Json], asked: datetime
    ) -> None:
        if not await compare_objects(ledger, objects, asked):
            return
        await asyncio.sleep(GRACE_S)
        differing = await compare_objects(ledger, objects, asked)
        await self._repair(ledger, [one for one in objects if one["id"] in differing], asked)
        for id_, fields in differing.items():
            self._report(Difference("differs" if fields else "missing", kind, id_, fields))

    async def _look_for_gone(self, ledger: Connection, kind: str, began: datetime) -> None:
        """Ask for each object that the ledger has for alive and Stripe does not list."""
        live, some_listed = await count_live(ledger, kind, most=FEW)
        if kind == "customer" and live >= FEW and not some_listed:
            raise StripeKeyRefused(
                "the key sees none of the customers that the ledger has: it is another account's "
                "of Stripe, or another mode's"
            )
        unlisted: list[Wanted] = []
        async for one in find_unlisted(ledger, kind, began):
            unlisted.append(one)
            if len(unlisted) == AT_ONCE:
                await self._ask_for(ledger, kind, unlisted)
                unlisted = []
        await self._ask_for(ledger, kind, unlisted)

    async def _ask_for(self, ledger: Connection, kind: str, unlisted: Sequence[Wanted]) -> None:
        asked = await asking_at(ledger)
        found = storable(kind, await ask_for(self._api, unlisted))
        differing = await compare_objects(ledger, found, asked)
        gone = [one["id"] for one in found if one.get("deleted") is True]
        await self._repair(ledger, [one for one in found if one["id"] in differing], asked)
        for id_, fields in differing.items():
            self._report(
                Difference("gone", kind, id_)
                if id_ in gone
                else Difference("differs", kind, id_, fields)
            )

    async def _summaries(self, ledger: Connection) -> int:
        """What customers are entitled to."""
        features, _ = await count_live(ledger, "entitlements.feature", most=1)
        passed, after = 0, ""
        while features and (customers := await list_entitled(ledger, after, limit=AT_ONCE)):
            asked = await asking_at(ledger)
            for summary in storable(SUMMARY, await ask_for(self._api, wanted_summaries(customers))):
                await self._compare_summary(ledger, summary, asked)
            passed, after = passed + len(customers), customers[-1]
        return passed

    async def _compare_summary(self, ledger: Connection, summary: Json, asked: datetime) -> None:
        id_ = f"{SUMMARY}:{summary['customer']}"
        known = await find_object(ledger, id_)
        if known is not None and known.updated_at >= asked:
            return
        had = _entitled(msgspec.json.decode(known.object)) if known else set()
        if _entitled(summary) != had:
            await self._repair(ledger, [summary], asked)
            fields = ["entitlements"] if known else []
            self._report(Difference("differs" if known else "missing", SUMMARY, id_, fields))

    async def _repair(self, ledger: Connection, objects: Sequence[Json], asked: datetime) -> None:
        async with ledger.transaction():
            changed = await store_objects(ledger, objects, fetched_at=asked)
            await follow(ledger, changed.customers, self._plans.plans, why="swept")

    def _report(self, difference: Difference) -> None:
        self.differences.append(difference)
        log.warning(
            "stripe_difference",
            kind=difference.kind,
            type=difference.type,
            id=difference.id,
            fields=difference.fields,
        )


def _entitled(summary: Json) -> set[str] | None:
    """To what; None where it cannot be read."""
    try:
        return {one.id for one in read(summary, _Summary).entitlements.data}
    except UnreadableObject:
        return None
