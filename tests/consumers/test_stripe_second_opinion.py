"""The same reconciler on a stand-in that is not ours: what localstripe covers, it follows."""

import json

import pytest

from ledger.stripe.api import StripeApi
from tests.consumers.pipeline import Pipeline
from tests.edge.running import WEBHOOK_SECRET, running
from tests.stripe.local_stripe import COVERED, KEY, a_history, at, local_stripe
from tests.waiting import until


async def test_the_ledger_ends_as_localstripe_has_it(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumers.stripe.sweep.PLANS_DEPEND_ON", COVERED)
    monkeypatch.setattr("consumers.stripe.sweep.GRACE_S", 0.1)
    async with (
        running(pipeline.nats, pipeline.nats_url, pipeline.database_url, pipeline.ledger) as edge,
        local_stripe(f"{edge.url}/webhooks/stripe", WEBHOOK_SECRET) as url,
    ):
        api = StripeApi(KEY, url, per_second=10_000)
        await a_history(api)
        settings = {"stripe_api_key": KEY, "stripe_api_base": url, "stripe_poll_s": 0.5}

        async def equal() -> bool:
            rows = await pipeline.ledger.fetch("SELECT id, object FROM stripe_objects")
            known = {row["id"]: json.loads(row["object"]) for row in rows}
            wanted = await at(api)
            return {id_: known.get(id_) for id_ in wanted} == wanted

        async def complete() -> bool:
            journaled = await pipeline.ledger.fetch("SELECT id FROM stripe_events")
            return {row["id"] for row in journaled} == await listed()

        async def listed() -> set[str]:
            return {event["id"] async for event in api.pages("/v1/events")}

        async with pipeline.consuming(**settings, stripe_sweep_s=0.5):
            await until(equal)
            await until(complete)  # a sweep may be faster than the events
        assert len(await listed()) > 50
        await api.close()
