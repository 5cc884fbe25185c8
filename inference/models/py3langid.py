"""Languages by py3langid."""

from collections.abc import Sequence
from typing import Final

from py3langid.langid import MODEL_FILE, LanguageIdentifier

from events.models import ModelDeclared
from events.tasks.langdetection import LangdetectionInput, LangdetectionResult
from events.tasks.task import read_texts
from inference.models.model import Answer, Prepared

_LEAST: Final = 0.02  # of a language worth telling; with nothing to go by, all have half of it
_DECIMALS: Final = 6


def load(_where: str, _declared: ModelDeclared) -> "Py3langid":
    """Load the model that the package brings."""
    return Py3langid(LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True))


class Py3langid:
    """Naive Bayes over the byte sequences that tell 140 languages apart; words count as tokens."""

    tasks: Final = frozenset({"langdetection"})

    def __init__(self, identifier: LanguageIdentifier) -> None:
        self._identifier = identifier

    def tokenize(self, _task: str, inputs: Sequence[LangdetectionInput]) -> Sequence[Prepared]:
        """Count the words."""
        return [Prepared(len(value.text.split()), value) for value in inputs]

    def run(self, _task: str, prepared: Sequence[Prepared]) -> Sequence[Answer]:
        """Rank the languages of each text; none where there is nothing to go by.

        `zxx` is ISO 639's code for what is no language at all.
        """
        return [
            Answer(
                self._ranked(one.data.text),
                read_texts([one.data.text], input_tokens=one.width),
            )
            for one in prepared
        ]

    def _ranked(self, text: str) -> LangdetectionResult:
        return LangdetectionResult(
            languages=[
                {language: round(score, _DECIMALS)}
                for language, score in self._identifier.rank(text)
                if score >= _LEAST
            ]
        )
