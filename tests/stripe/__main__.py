"""`python -m tests.stripe --port 12111 --webhook http://... --secret whsec_...`."""

import argparse
import asyncio

import uvicorn

from tests.stripe.account import Account
from tests.stripe.app import KEY, App
from tests.stripe.webhooks import add


async def run(port: int, webhook: str, secret: str) -> None:
    app = App(Account())
    if webhook:
        add(app.account, webhook, secret=secret or None)
    config = uvicorn.Config(app, port=port, lifespan="off", ws="none", log_level="warning")
    delivering = asyncio.create_task(app.courier.work())
    print(f"Stripe's stand-in listens on http://127.0.0.1:{port}; a key of it is {KEY}", flush=True)
    try:
        await uvicorn.Server(config).serve()
    finally:
        delivering.cancel()


arguments = argparse.ArgumentParser(prog="python -m tests.stripe", description=__doc__)
arguments.add_argument("--port", type=int, default=12111)
arguments.add_argument("--webhook", default="", help="where events are sent to")
arguments.add_argument("--secret", default="", help="with which they are signed")
asyncio.run(run(**vars(arguments.parse_args())))
