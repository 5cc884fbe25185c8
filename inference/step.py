"""Stepping: all that is being written, one token further."""

from collections.abc import Sequence
from functools import partial

from inference.attempt import Attempt, attempt
from inference.models.model import Advance, Generator
from inference.slot import Slot


def step(model: Generator, slots: Sequence[Slot]) -> list[Attempt[Slot, Advance]]:
    """Advance the drafts of these slots, in the model's thread; new ones begin theirs.

    Returns:
        One attempt over all of them, or, where that raised, one over each.
    """
    return attempt(partial(_advance, model), slots)


def _advance(model: Generator, slots: Sequence[Slot]) -> Sequence[Advance | Exception]:
    for slot in slots:
        if slot.draft is None:
            assert slot.job.prepared is not None, "see Slot"
            slot.draft = model.join(slot.job.prepared)
    return model.step([slot.draft for slot in slots])
