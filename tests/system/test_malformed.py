"""Malformed requests of every kind on raw sockets harm nobody, and leave nothing behind.

`python -m tests.bench.malformed` sends 100,000; TOLLGATE_TEST_SEED=1 makes other ones.
"""

import os
from collections.abc import AsyncIterator
from typing import Final

import pytest
import pytest_asyncio

from edge import auth
from tests.system.malformed import Generator
from tests.system.storm import Storm, memory_of, targets_of
from tests.system.town import Tenant, Town
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

REQUESTS: Final = 3_000
WARM: Final = 1_000  # after so many, all that is kept for ever is there
FEW: Final = 2_000  # one in a hundred is silent, one in two hundred has the header of the bug
MIB: Final = 2**20
SEED: Final = int(os.environ.get("TOLLGATE_TEST_SEED", "0"))
A_WHILE_S: Final = 5.0  # in which what is never closed is still open
NEVER_S: Final = 3_600.0


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def caller(town: Town) -> Tenant:
    return await town.tenant("cleo")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def generator(town: Town, caller: Tenant) -> AsyncIterator[Generator]:
    charge = await town.tenant("char")
    yield Generator(await targets_of(town, caller, charge), SEED)


async def test_nothing_breaks_stays_open_or_grows(
    town: Town, caller: Tenant, generator: Generator
) -> None:
    pids = {file.name: int(file.read_text()) for file in (town.system.home / "run").iterdir()}
    storm = Storm(town.system.url, generator, caller.headers)
    before = await storm.broken()
    await storm.rage(WARM)
    memory = memory_of(pids["edge.pid"])
    await storm.rage(REQUESTS)

    assert storm.found == []
    assert await storm.broken() == before
    assert set(storm.healthy) == {200}
    assert {200, 400, 401, 404, 405, 413, 415, 422, 431} <= set(storm.answered)  # all kinds
    assert memory_of(pids["edge.pid"]) - memory < 16 * MIB
    await until(lambda: storm.open() == 0)  # though the silent are still there
    storm.hang_up()
    log = (town.system.home / "up.log").read_text()
    assert "unforeseen" not in log
    assert "Traceback" not in log
    again = {file.name: int(file.read_text()) for file in (town.system.home / "run").iterdir()}
    assert again == pids  # nobody has died


async def test_a_bug_in_an_edge_is_found(
    town: Town, caller: Tenant, generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = auth.credentials

    def ascii_alone(authorization: str | None) -> str:
        return credentials(authorization and authorization.encode("ascii").decode())

    monkeypatch.setattr(auth, "credentials", ascii_alone)
    async with town.another_edge() as url:
        storm = Storm(url, generator, caller.headers)
        before = await storm.broken()
        await storm.rage(FEW)

        assert (await storm.broken() - before).total() > 0
        storm.hang_up()


async def test_an_edge_that_waits_for_ever_is_found(
    town: Town, caller: Tenant, generator: Generator
) -> None:
    patient = {"head_s": NEVER_S, "body_s": NEVER_S, "keep_alive_s": NEVER_S, "unread_s": NEVER_S}
    async with town.another_edge(**patient) as url:
        storm = Storm(url, generator, caller.headers)
        await storm.rage(FEW)

        with pytest.raises(TimeoutError):
            await until(lambda: storm.open() == 0, A_WHILE_S)
        storm.hang_up()
