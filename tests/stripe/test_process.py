"""`python -m tests.stripe`."""

import asyncio
import sys

import stripe

from deploy.local.ports import free_port
from tests.stripe.app import KEY


async def test_the_stand_in_is_a_process_too() -> None:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.stripe", "--port", str(port)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout
    said = await process.stdout.readline()
    client = stripe.StripeClient(
        KEY, base_addresses={"api": f"http://127.0.0.1:{port}"}, max_network_retries=5
    )

    made = await asyncio.to_thread(client.v1.customers.create, {"name": "Ada"})
    process.terminate()
    await process.wait()

    assert KEY in said.decode()
    assert made.name == "Ada"
