"""Durable consumers that an earlier version has made, and made differently."""

from nats.js.api import ConsumerConfig

from events import streams
from tests.consumers.pipeline import Pipeline
from tests.usage import a_usage, recorded
from tests.waiting import until

DURABLES = {
    streams.USAGE: streams.usage_fold(),
    streams.STRIPE: streams.stripe_journal(),
    streams.BUDGETS: streams.budget_webhooks(),
    streams.COMPLETIONS: streams.job_webhooks(),
}


async def test_they_become_what_this_version_has_and_go_on_where_they_were(
    pipeline: Pipeline,
) -> None:
    jetstream = pipeline.nats.jetstream()
    async with pipeline.consuming():
        await pipeline.deliver(recorded(a_usage()))
        await pipeline.until_settled()
    for stream, config in DURABLES.items():
        earlier = config.evolve(max_ack_pending=7, ack_wait=60.0)
        await jetstream.add_consumer(stream, earlier)
        assert await _is(pipeline, stream, earlier)

    async def become() -> bool:
        return all([await _is(pipeline, stream, config) for stream, config in DURABLES.items()])

    async with pipeline.consuming():
        await until(become)
        await pipeline.deliver(recorded(a_usage()))
        await pipeline.until_settled()

    assert await pipeline.requests() == 2
    fold = await jetstream.consumer_info(streams.USAGE, "usage_fold")
    assert fold.delivered is not None
    assert fold.delivered.consumer_seq == 2  # each once: it did not begin anew


async def _is(pipeline: Pipeline, stream: str, wanted: ConsumerConfig) -> bool:
    name = wanted.durable_name or ""
    found = (await pipeline.nats.jetstream().consumer_info(stream, name)).config
    return (found.max_ack_pending, found.ack_wait) == (wanted.max_ack_pending, wanted.ack_wait)
