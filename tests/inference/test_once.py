"""Whatever requests are, and whatever befalls them: each gets one outcome, and it is its own."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

from events.inference import Expired, Failed, Refused
from events.tasks.echo import EchoResult
from inference.job import Ran
from tests.inference.scripted import Lined, Road, Scripted, Wide
from tests.inference.test_pipeline import a_road
from tests.waiting import PATIENCE_S, until

MISBEHAVED = {"poison": Failed, "broken": Failed, "rude": Refused}


class Submit(Struct, frozen=True):
    words: int
    lines: int
    priority: int
    patience_s: float
    kind: str = "word"  # or one that misbehaves


class Cancel(Struct, frozen=True):
    which: int  # of those submitted so far


class Pass(Struct, frozen=True):
    seconds: float  # by the clock of deadlines


class Turn(Struct, frozen=True):
    """Let the pipeline's stages go on for so many rounds."""

    rounds: int


actions = st.lists(
    st.one_of(
        st.builds(
            Submit,
            words=st.integers(1, 40),
            lines=st.sampled_from([1, 1, 1, 7]),
            priority=st.integers(-2, 2),
            patience_s=st.sampled_from([0.0, 1.0, 1_000.0]),
            kind=st.sampled_from(["word"] * 8 + sorted(MISBEHAVED)),
        ),
        st.builds(Cancel, which=st.integers(0, 30)),
        st.builds(Pass, seconds=st.sampled_from([0.5, 2.0])),
        st.builds(Turn, rounds=st.integers(1, 20)),
    ),
    max_size=40,
)


@given(actions, st.integers(1, 100), st.sampled_from([Scripted, Lined, Wide]))
@settings(max_examples=60, deadline=None)
def test_each_request_is_answered_once_with_its_own_answer(
    actions: Sequence[Submit | Cancel | Pass | Turn], batch_tokens: int, model: type[Scripted]
) -> None:
    asyncio.run(_play(actions, batch_tokens, model()))


async def _play(
    actions: Sequence[Submit | Cancel | Pass | Turn], batch_tokens: int, model: Scripted
) -> None:
    async with a_road(model, batch_tokens=batch_tokens, batch_wait_ms=1.0) as road:
        submitted: list[tuple[str, UUID]] = []
        async with asyncio.timeout(PATIENCE_S):
            for action in actions:
                await _do(road, submitted, action)
            await until(lambda: not road.pipeline.held)

        assert road.outcomes.keys() == {text for text, _ in submitted}
        for text, outcome in road.outcomes.items():
            kind = text.partition(" ")[0]
            if isinstance(outcome, Ran):
                assert kind == "word"
                assert outcome.result == EchoResult(text=text.upper())
            else:
                assert isinstance(outcome, (Expired, MISBEHAVED.get(kind, Expired)))


async def _do(
    road: Road, submitted: list[tuple[str, UUID]], action: Submit | Cancel | Pass | Turn
) -> None:
    match action:
        case Submit(words, lines, priority, patience_s, kind):
            line = " ".join([kind, str(len(submitted)), *["more"] * words])
            text = "\n".join([line] * lines)
            deadline = road.time + patience_s
            (request_id,) = road.submit(text, priority=priority, deadline=deadline)
            submitted.append((text, request_id))
        case Cancel(which) if submitted:
            road.pipeline.cancel(submitted[which % len(submitted)][1])
        case Pass(seconds):
            road.time += seconds
        case Turn(rounds):
            for _ in range(rounds):
                await asyncio.sleep(0)
