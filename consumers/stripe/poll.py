"""Looks through Stripe's list of events for those that no webhook brought.

They go the way that webhooks go, into the stream, and not past it into the journal: so
there is one reader of events, one place where bad ones are parked, and one that asks
Stripe about what stays unclear.
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Final

import nats.errors
import structlog
from msgspec.structs import replace
from nats.aio.client import Client
from nats.js.api import Header

from consumers import metrics
from events import streams, stripe
from ledger.db import Connection
from ledger.errors import StripeRefused, StripeUnavailable
from ledger.stripe.api import Json, StripeApi
from ledger.stripe.passes import SWEEP, Pass, find_lacking, hasten_pass, move_pass

log = structlog.get_logger()

LISTED: Final = timedelta(days=30)  # as far back as Stripe lists events
#: Behind the cursor, in Stripe's time: an event may be listed later than one that is younger.
OVERLAP_S: Final = 300
#: By how much our clock may be ahead of Stripe's, or behind it. Without events the cursor follows
#: it, at this distance: an event that is parked would be listed for ever otherwise.
AHEAD_S: Final = 900
PUBLISH_S: Final = 5.0


class Poll:
    """One pass over the list, from the newest event back to where the last one was through."""

    def __init__(self, api: StripeApi, nats: Client) -> None:
        self._api = api
        self._jetstream = nats.jetstream(timeout=PUBLISH_S)

    async def run(self, ledger: Connection, begun: Pass) -> Pass:
        """Publish what the journal lacks; after each page the ledger knows how far it is.

        The cursor moves when the whole listing is through. Killed at any point, the next
        one begins with the page that this one may have published in vain.

        Raises:
            StripeError, nats.errors.Error, OSError, TimeoutError: go on later.
            LedgerUnavailable, asyncpg.PostgresError: as well.
        """
        state = begun if begun.after else await self._begin(ledger, begun)
        has_more = True
        while has_more:
            page = await self._page(state)
            if page is None:
                state = await self._begin(ledger, replace(state, newest=None, after=""))
                continue
            events, has_more = page
            state = await self._pass(ledger, state, events)
        state = replace(state, cursor=state.newest, newest=None, after="")
        await move_pass(ledger, state)
        return state

    async def _begin(self, ledger: Connection, begun: Pass) -> Pass:
        """Say so where events that nobody has are not listed any more."""
        oldest = int((datetime.now(UTC) - LISTED).timestamp())
        if begun.cursor is None or begun.cursor >= oldest:
            return begun
        since, until = (datetime.fromtimestamp(one, UTC) for one in (begun.cursor, oldest))
        note = f"events from {since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} are gone at Stripe"
        log.error("stripe_events_gone", since=since, until=until)
        metrics.STRIPE_EVENTS_GONE.inc()
        await hasten_pass(ledger, SWEEP)  # which repairs what they would have told
        return replace(begun, note=note, cursor=oldest)

    async def _page(self, state: Pass) -> tuple[list[Json], bool] | None:
        """The next page; None where its place is gone: the last one was cut short long ago."""
        params: Json = {}
        if state.cursor is not None:
            params["created"] = {"gte": state.cursor - OVERLAP_S}
        if not state.after:
            return await self._api.page("/v1/events", **params)
        try:
            return await self._api.page("/v1/events", **params, starting_after=state.after)
        except StripeRefused as refused:
            if refused.param != "starting_after":
                raise
        return None

    async def _pass(self, ledger: Connection, state: Pass, events: list[Json]) -> Pass:
        """Publish, and then move on: the other way round a kill in between would lose them."""
        lacking = await self._publish(ledger, events)
        metrics.STRIPE_EVENTS_POLLED.inc(lacking)
        moved = replace(
            state,
            newest=_newest(state, events) if state.newest is None else state.newest,
            after=events[-1]["id"] if events else state.after,
            passed=state.passed + len(events),
            found=state.found + lacking,
        )
        await move_pass(ledger, moved)
        return moved

    async def _publish(self, ledger: Connection, events: list[Json]) -> int:
        lacking = await find_lacking(ledger, [event["id"] for event in events])
        for event in reversed(events):  # the oldest first, as webhooks would have come
            if event["id"] in lacking:
                body = json.dumps(event).encode()  # escapes what UTF-8 cannot hold
                # the next poll meets it again where the journal is behind, or has parked it
                headers = {Header.MSG_ID.value: event["id"]}
                try:
                    await self._jetstream.publish(
                        stripe.subject(body), body, stream=streams.STRIPE, headers=headers
                    )
                except nats.errors.MaxPayloadError:  # for ever: those behind it would never come
                    log.error("stripe_event_too_large", id=event["id"], bytes=len(body))
        return len(lacking)


def _newest(begun: Pass, events: list[Json]) -> int:
    """Where the cursor will be after a listing that begins with these events.

    Never further than Stripe's clock can be: beyond that no event would ever be listed.
    """
    assert begun.began_at is not None
    now = int(begun.began_at.timestamp())
    times = [event.get("created") for event in events]
    told = [time for time in times if isinstance(time, int) and time <= now + AHEAD_S]
    if events and not told:
        raise StripeUnavailable("Stripe lists events, and none that has a time")
    return max(begun.cursor or 0, now - AHEAD_S, *told)
