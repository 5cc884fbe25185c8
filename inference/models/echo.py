"""A model that gives the text back: for measuring everything else."""

from collections.abc import Sequence
from typing import Final

from events.models import ModelDeclared
from events.tasks.echo import EchoInput, EchoResult
from events.usage import Quantities
from inference.models.model import Answer, Prepared


def load(_where: str, _declared: ModelDeclared) -> "Echo":
    """There is nothing to load."""
    return Echo()


class Echo:
    """Words count as tokens."""

    tasks: Final = frozenset({"echo"})

    def tokenize(self, _task: str, inputs: Sequence[EchoInput]) -> Sequence[Prepared]:
        """Count the words."""
        return [Prepared(len(value.text.split()), value.text) for value in inputs]

    def run(self, _task: str, prepared: Sequence[Prepared]) -> Sequence[Answer]:
        """Give each text back."""
        return [_answer(one.data, one.width) for one in prepared]


def _answer(text: str, words: int) -> Answer:
    characters = len(text)
    return Answer(
        EchoResult(text=text),
        Quantities(
            input_tokens=words,
            output_tokens=words,
            input_words=words,
            output_words=words,
            input_characters=characters,
            output_characters=characters,
        ),
    )
