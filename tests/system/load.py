"""Callers that go on calling, whatever breaks, and remember what they were told."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import httpx

from tests.system.system import System

CALLERS = 16


class Load:
    """What was asked with one key, and what came of it."""

    def __init__(self, key_id: str) -> None:
        self.key_id = key_id
        self.answered: list[UUID] = []  # ids of 200s
        self.refused: list[UUID] = []  # ids of all other answers
        self.broken = 0  # requests that never got an answer
        self.statuses: Counter[int] = Counter()
        self.stopping = False

    @property
    def asked(self) -> int:
        return len(self.answered) + len(self.refused) + self.broken

    async def call(self, client: httpx.AsyncClient) -> None:
        while not self.stopping:
            try:
                response = await client.post("/v1/echo/echo", json={"text": "one two three"})
            except httpx.TransportError:
                self.broken += 1
                await asyncio.sleep(0.05)  # the edge is being replaced
                continue
            self.statuses[response.status_code] += 1
            request_id = UUID(response.headers["x-request-id"])
            if response.status_code == 200:
                self.answered.append(request_id)
            else:
                self.refused.append(request_id)
                await asyncio.sleep(0.02)


@asynccontextmanager
async def under_load(system: System) -> AsyncIterator[Load]:
    """Sixteen callers in a loop, while the block runs."""
    account = f"/v1/admin/accounts/{system.account_id}"
    async with system.client() as admin:
        made = await admin.post(f"{account}/keys", json={}, headers=system.admin_headers)
    load = Load(made.json()["key"]["id"])
    headers = {"Authorization": f"Bearer {made.json()['api_key']}"}
    async with system.client(headers) as client, asyncio.TaskGroup() as callers:
        for _ in range(CALLERS):
            callers.create_task(load.call(client))
        try:
            yield load
        finally:
            load.stopping = True
