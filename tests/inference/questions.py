"""Questions to a text, and whether they were answered."""

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct, convert

from events.tasks.question import QuestionInput

_ARTICLE = re.compile(r"^(the|a|an) ")


class Question(Struct, frozen=True):
    """One question, and all that count as right answers."""

    question: str
    answers: list[str]


class _Text(Struct, frozen=True):
    context: str
    questions: list[Question]


_FILE = tomllib.loads(Path(__file__).with_name("questions.toml").read_text())


def _questions(table: str) -> Sequence[tuple[QuestionInput, Question]]:
    return [
        (QuestionInput(question=one.question, context=text.context), one)
        for text in convert(_FILE[table], list[_Text])
        for one in text.questions
    ]


QUESTIONS = _questions("text")
HELD_BACK = _questions("held_back")  # on which nothing was chosen


def is_right(question: Question, answer: str) -> bool:
    """Whether an answer is one of those that count."""
    return _plain(answer) in map(_plain, question.answers)


def _plain(answer: str) -> str:
    return _ARTICLE.sub("", " ".join(answer.lower().split()))
