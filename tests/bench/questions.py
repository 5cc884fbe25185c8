"""How many questions to a text are answered with the right words of it."""

from pathlib import Path
from typing import Final

from events.models import read_models
from events.tasks.question import QuestionResult
from inference.models import load
from inference.models.causal_lm.generator import CausalLM
from inference.models.model import Advance, Prepared
from tests.bench.table import print_table
from tests.inference.questions import HELD_BACK, QUESTIONS, is_right

MODEL: Final = "SmolLM2-135M-Instruct"
MODELS_FILE: Final = Path(__file__).parents[2] / "deploy" / "models.toml"


def measure_questions() -> None:
    """Print the tables, and the wrong answers."""
    model = load(read_models(MODELS_FILE)[MODEL])
    assert isinstance(model, CausalLM)
    wrong: list[tuple[str, ...]] = []
    rows = []
    for name, questions in (("chosen on", QUESTIONS), ("held back", HELD_BACK)):
        right = 0
        for value, question in questions:
            (prepared,) = model.tokenize("question", [value])
            assert isinstance(prepared, Prepared)
            result = _answer(model, prepared)
            if is_right(question, result.answer):
                right += 1
            else:
                wrong.append((question.question, result.answer, f"{result.score:.2f}"))
        rows.append((name, str(len(questions)), str(right), f"{right / len(questions):.0%}"))
    print_table(f"questions, {MODEL}", ("", "asked", "right", "share"), rows)
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
