"""How far a stream may be ahead of its reader, however many texts it is of."""

import pytest

from edge.incoming import READ_EVERY
from events.inference import WINDOW
from events.tasks import generation
from events.tasks.generation import GenerationInput, GenerationPiece
from events.usage import NOTHING
from inference.job import Job
from inference.models.model import Advance, Piece, Prepared
from inference.slot import Slot
from tests.inference.scribe import an_ask

STEPS = 100


def a_slot(rows: int) -> Slot:
    job = Job(
        an_ask("text", stream=True),
        "scribe",
        generation.TASK,
        GenerationInput(text="text"),
        "inbox",
        0.0,
    )
    job.prepared = Prepared(1, None, rows=rows)
    return Slot(job)


def step(slot: Slot) -> None:
    """Write a piece of each text."""
    pieces = [Piece(GenerationPiece(text="x", index=row), NOTHING) for row in range(slot.rows)]
    advance = Advance(pieces=pieces, quantities=NOTHING, tokens=1, rows=slot.rows, result=None)
    slot.advance(advance, seconds=0.0, device_us=0, now=0.0)


@pytest.mark.parametrize("rows", [1, READ_EVERY, 51, WINDOW - 1, WINDOW, WINDOW + 1, 10 * WINDOW])
def test_a_stream_of_many_texts_goes_on_as_it_is_read(rows: int) -> None:
    """The edge says how far it has read as `edge/incoming.py` does: not after each piece."""
    slot = a_slot(rows)
    for _ in range(STEPS):
        assert not slot.paused
        step(slot)
        slot.hear(slot.chunks // READ_EVERY * READ_EVERY, now=0.0)


@pytest.mark.parametrize("rows", [1, 50, WINDOW, 10 * WINDOW])
def test_a_stream_that_nobody_reads_stops_within_a_step_of_the_window(rows: int) -> None:
    slot = a_slot(rows)
    while not slot.paused:
        step(slot)

    assert WINDOW <= slot.chunks < WINDOW + rows
