"""How many questions to a text are answered with the right words of it."""

from pathlib import Path
from typing import Final

from events.models import read_models
from events.tasks.question import QuestionResult
from inference.models import load
from inference.models.causal_lm.generator import CausalLM
from inference.models.model import Advance, Prepared
from tests.bench.table import print_table
from tests.inference.questions import QUESTIONS, is_right

MODEL: Final = "SmolLM2-135M-Instruct"
MODELS_FILE: Final = Path(__file__).parents[2] / "deploy" / "models.toml"


def measure_questions() -> None:
    """Print the table, and the wrong answers."""
    model = load(read_models(MODELS_FILE)[MODEL])
    assert isinstance(model, CausalLM)
    scores: dict[bool, list[float]] = {True: [], False: []}
    wrong = []
    for value, question in QUESTIONS:
        (prepared,) = model.tokenize("question", [value])
        assert isinstance(prepared, Prepared)
        result = _answer(model, prepared)
        right = is_right(question, result.answer)
        scores[right].append(result.score)
        if not right:
            wrong.append((question.question, result.answer, f"{result.score:.2f}"))
    print_table(
        f"{len(QUESTIONS)} questions, {MODEL}",
        ("", "answers", "share", "mean score"),
        [
            (
                name,
                str(len(found)),
                f"{len(found) / len(QUESTIONS):.0%}",
                f"{sum(found) / max(1, len(found)):.2f}",
            )
            for name, found in (("right", scores[True]), ("wrong", scores[False]))
        ],
    )
    print_table("wrong", ("question", "answer", "score"), wrong)


def _answer(model: CausalLM, prepared: Prepared) -> QuestionResult:
    draft = model.join(prepared)
    while True:
        (advance,) = model.step([draft])
        assert isinstance(advance, Advance)
        if advance.result is not None:
            assert isinstance(advance.result, QuestionResult)
            return advance.result


if __name__ == "__main__":
    measure_questions()
