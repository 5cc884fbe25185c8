"""What docs/events.md tells a subscriber to do, done as it is told."""

import asyncio
import os
import re
import shlex
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
from msgspec.structs import replace

from deploy.local.nats import Nats
from events import streams, usage
from events.usage import Quantities, UsageEvent
from tests.consumers.pipeline import SMALL
from tests.deploy.guarded import Person, broker, person, url, violations
from tests.usage import a_usage, recorded, voided
from tests.waiting import PATIENCE_S, until

PAGE: Final = (Path(__file__).parents[2] / "docs" / "events.md").read_text()
NAME: Final = "usage_reader"


def block(language: str) -> str:
    """The first such block of the page."""
    found = re.search(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


async def tollgate(*arguments: str, nats_url: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "deploy.cli",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "TOLLGATE_NATS_URL": nats_url},
    )
    output, _ = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    return process.returncode or 0, output.decode()


class Subscriber:
    """The program of the page, in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def says(self) -> str:
        assert self._process.stdout
        line = await asyncio.wait_for(self._process.stdout.readline(), PATIENCE_S)
        return line.decode()


@asynccontextmanager
async def subscriber(nats_url: str) -> AsyncIterator[Subscriber]:
    """It runs until the end of the block, and is killed then."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        block("python"),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "NATS_URL": nats_url},
    )
    try:
        yield Subscriber(process)
    finally:
        process.kill()
        await process.wait()


def entities(words: int) -> UsageEvent:
    return recorded(replace(a_usage(), task="entities", quantities=Quantities(input_words=words)))


async def publish(operator: Person, *events: UsageEvent) -> None:
    for event in events:
        await operator.client.jetstream().publish(usage.subject(event.data), usage.encode(event))


async def acknowledged(operator: Person) -> bool:
    info = await operator.client.jetstream().consumer_info(streams.USAGE, NAME)
    return bool(info.num_pending == info.num_ack_pending == 0)


@pytest.mark.parametrize("guarded", [True, False], ids=["permissions", "everybody may everything"])
async def test_the_subscriber_of_the_page_reads_what_it_asks_for_and_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nats_server: Nats, *, guarded: bool
) -> None:
    first, second, third = entities(1), entities(2), entities(3)
    async with AsyncExitStack() as stack:
        server, operators, readers = nats_server, nats_server.url, nats_server.url
        if guarded:
            server = stack.enter_context(broker(tmp_path / "guarded", monkeypatch))
            operators, readers = url(server, "operator"), url(server, NAME)
        operator = await stack.enter_async_context(person(server, "operator"))
        await streams.prepare(operator.client, SMALL)
        await publish(operator, recorded(a_usage()), first)
        if guarded:
            command = shlex.split(block("sh"))[1:]
            assert (await tollgate(*command, nats_url=operators))[0] == 0

        async with subscriber(readers) as running:
            assert first.id in await running.says()
            await publish(operator, recorded(a_usage()), second, voided(second.data))
            assert second.id in await running.says()
            assert "voided" in await running.says()
            await until(lambda: acknowledged(operator))
        await publish(operator, recorded(a_usage()), third)
        async with subscriber(readers) as running:
            assert f"{third.id} {{'input_words': 3}}" in await running.says()

        assert not violations(server)


async def test_the_subscriber_of_the_page_outlives_the_broker(nats_server: Nats) -> None:
    first, second = entities(1), entities(2)
    async with person(nats_server, "operator") as operator:
        await streams.prepare(operator.client, SMALL)
        await publish(operator, first)
        async with subscriber(nats_server.url) as running:
            assert first.id in await running.says()
            nats_server.kill()
            nats_server.start()
            async with person(nats_server, "operator") as again:
                await publish(again, second)

            # a broker that is killed may forget the last acknowledgements
            while second.id not in (said := await running.says()):
                assert first.id in said


async def test_an_operator_sees_and_ends_subscribers(nats_server: Nats) -> None:
    async def run(*arguments: str) -> tuple[int, str]:
        return await tollgate("subscribers", *arguments, nats_url=nats_server.url)

    async with person(nats_server, "operator") as operator:
        await streams.prepare(operator.client, SMALL)
        await operator.client.jetstream().add_consumer(streams.USAGE, streams.usage_fold())
        await publish(operator, entities(1), recorded(a_usage()))
        model = ("--model", "a/b", "--model", "SmolLM2-1.7B")

        _, made = await run("create", "reports", *model)
        _, changed = await run("create", "reports", "--task", "echo")
        _, listed = await run("list")
        status, wrong = await run("delete", "usage_fold")
        deleted, _ = await run("delete", "reports")
        missing, said = await run("delete", "reports")

    assert "usage.v1.*.a%2Fb.*" in made
    assert "usage.v1.*.SmolLM2-1%2E7B.*" in made
    assert "usage.v1.*.*.echo" in changed
    assert changed == listed
    assert "fold" not in listed
    assert (status, "cannot be" in wrong) == (2, True)
    assert (deleted, missing, "no subscriber" in said) == (0, 1, True)
