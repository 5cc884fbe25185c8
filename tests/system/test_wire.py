"""What nobody should have published: parked or passed over, and no process dies of it."""

import random
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

from nats.aio.client import Client

from events import inference, models, streams, usage
from events.ids import new_id
from events.inference import Ask
from events.models import ModelAnnounced, ModelDeclared
from tests.system.malformed import LITERALS
from tests.system.system import System, echoing
from tests.usage import a_usage, recorded
from tests.waiting import until

EACH = 60
SEED = 0


def _odd(good: bytes) -> Sequence[bytes]:
    """A message broken in many ways, and things that are none."""
    chance = random.Random(SEED)
    found = [literal.encode("utf-8", "surrogatepass") for literal in LITERALS]
    found += [b"\x91", b"\x81\xff", b"\xdd\xff\xff\xff\xff"]
    for _ in range(EACH):
        broken = bytearray(good)
        broken[chance.randrange(len(broken))] = chance.randrange(256)
        found += [bytes(broken), good[: chance.randrange(len(good))], chance.randbytes(40)]
    return found


def _pids(system: System) -> dict[str, str]:
    return {file.name: file.read_text() for file in (system.home / "run").iterdir()}


async def _is_answered(system: System) -> bool:
    async with system.client() as client:
        return (await client.post("/v1/echo/echo", json={"text": "a"})).status_code == 200


async def _parked(client: Client) -> int:
    return (await client.jetstream().stream_info(streams.PARKED)).state.messages


async def test_malformed_messages_harm_no_process(home: Path) -> None:
    async with echoing(home) as system:
        client = await system.broker()
        pids = _pids(system)
        ask = Ask(new_id(), uuid4(), 2.0**40, b'{"text":"a"}')
        for message in _odd(inference.encode(ask)):
            await client.publish("inference.echo.echo", message, reply=client.new_inbox())
            await client.publish("cancel.nothing", message)
        declared = ModelDeclared(name="m", source="test:", tasks=("echo",))
        announced = ModelAnnounced(model=declared, worker_id=new_id(), until=0.0)
        for message in _odd(models.encode(announced)):
            await client.publish(models.subject(announced), message)
        event = recorded(a_usage(uuid4()))
        for message in _odd(usage.encode(event)):
            await client.publish(usage.subject(event.data), message)
        for message in _odd(b'{"id":"evt_1","object":"event","type":"a.b","created":1}'):
            await client.publish("stripe.a.b", message)
        for message in _odd(b'{"account":{},"keys":[]}'):
            await client.publish(f"accounts.{uuid4()}", message)
        await client.flush()

        await until(lambda: _is_answered(system))
        await system.settled()  # all that could be read is folded, and the rest is parked
        assert await _parked(client) > len(LITERALS)
        assert _pids(system) == pids
        assert "Traceback" not in (home / "up.log").read_text()
        await client.close()
