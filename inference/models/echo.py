"""A model that gives the text back: for measuring everything else."""

from collections.abc import Sequence
from typing import Final

from events.models import ModelDeclared
from events.tasks.echo import EchoInput, EchoResult, count
from inference.models.model import Answer, Prepared


def load(_where: str, _declared: ModelDeclared) -> "Echo":
    """There is nothing to load."""
    return Echo()


class Echo:
    """Words count as tokens."""

    tasks: Final = frozenset({"echo"})

    def tokenize(self, _task: str, inputs: Sequence[EchoInput]) -> Sequence[Prepared]:
        """Count the words."""
        return [Prepared(len(value.text.split()), value) for value in inputs]

    def run(self, _task: str, prepared: Sequence[Prepared]) -> Sequence[Answer]:
        """Give each text back."""
        return [Answer(EchoResult(text=one.data.text), count(one.data)) for one in prepared]
