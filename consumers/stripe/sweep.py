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
from consumers.stripe.lists import PLANS_DEPEND_ON, Listed
from events.plans_file import PlansFile
from ledger.db import Connection
from ledger.errors import StripeKeyRefused, StripeRefused
from ledger.stripe.api import Json, StripeApi
from ledger.stripe.comparison import compare_objects, find_live, list_entitled
from ledger.stripe.entitlements import follow
from ledger.stripe.fetch import SUMMARY, fetch_object
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


class Sweep:
    """One pass over the lists that plans depend on."""

    def __init__(self, api: StripeApi, plans: PlansFile) -> None:
        self._api = api
        self._plans = plans
        self.differences: list[Difference] = []

    async def run(self, ledger: Connection, begun: Pass) -> Pass:
        """Compare and repair, list by list; how far it is is not kept, repairs are.

        Raises:
            StripeError, OSError, TimeoutError: go on later, from the beginning.
            LedgerUnavailable, asyncpg.PostgresError: as well.
        """
        self.differences.clear()
        passed = 0
        for one in PLANS_DEPEND_ON:
            passed += await self._list(ledger, one)
        passed += await self._summaries(ledger)
        counted = Counter(difference.kind for difference in self.differences)
        for kind in ("missing", "differs", "gone"):
            metrics.STRIPE_DIFFERENCES.labels(kind).set(counted[kind])
        done = replace(begun, passed=passed, found=len(self.differences))
        await move_pass(ledger, done)
        return done

    async def _list(self, ledger: Connection, one: Listed) -> int:
        began = await asking_at(ledger)
        seen: set[str] = set()
        has_more = True
        after: Json = {}
        while has_more:
            asked = await asking_at(ledger)
            objects, has_more = await self._api.page(one.path, **one.params, **after)
            await self._compare(ledger, one.kind, storable(objects), asked)
            seen.update(listed["id"] for listed in objects)
            after = {"starting_after": objects[-1]["id"]} if objects else {}
        await self._look_for_gone(ledger, one.kind, seen, began)
        return len(seen)

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

    async def _look_for_gone(
        self, ledger: Connection, kind: str, seen: set[str], began: datetime
    ) -> None:
        """Ask for each object that the ledger has for alive and Stripe does not list."""
        live = await find_live(ledger, kind, began)
        unseen = live.keys() - seen
        if kind == "customer" and len(live) >= FEW and not live.keys() & seen:
            raise StripeKeyRefused(
                f"the key sees none of the {len(live)} customers that the ledger has: it is "
                "another account's of Stripe, or another mode's"
            )
        for id_ in sorted(unseen):
            asked = await asking_at(ledger)
            found = await fetch_object(self._api, kind, id_, live[id_])
            differing = await compare_objects(ledger, [found], asked)
            if found.get("deleted") is True:
                await self._repair(ledger, [found], asked)
                self._report(Difference("gone", kind, id_))
            elif differing:
                await self._repair(ledger, [found], asked)
                self._report(Difference("differs", kind, id_, differing[id_]))

    async def _summaries(self, ledger: Connection) -> int:
        """What customers are entitled to: Stripe lists that for one of them at a time."""
        if not await find_live(ledger, "entitlements.feature", await asking_at(ledger)):
            return 0
        customers = await list_entitled(ledger)
        for customer in customers:
            asked = await asking_at(ledger)
            try:
                summary = await fetch_object(self._api, SUMMARY, "", customer)
            except StripeRefused:
                continue  # the customer is gone: its own difference
            id_ = f"{SUMMARY}:{customer}"
            known = await find_object(ledger, id_)
            if known is not None and known.updated_at >= asked:
                continue
            had = _entitled(msgspec.json.decode(known.object)) if known else set()
            if _entitled(summary) != had:
                await self._repair(ledger, [summary], asked)
                fields = ["entitlements"] if known else []
                self._report(Difference("differs" if known else "missing", SUMMARY, id_, fields))
        return len(customers)

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


def _entitled(summary: Json) -> set[str]:
    return {one["id"] for one in summary["entitlements"]["data"]}
