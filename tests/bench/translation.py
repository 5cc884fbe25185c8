"""How near translations come to what a speaker would say, and how soon."""

import time
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from deploy.local import apertium
from events.models import read_models
from events.tasks.chatbot import ChatbotInput
from events.tasks.semantic_similarity import SemanticSimilarityInput
from events.tasks.translation import TranslationInput
from inference.models import load
from inference.models.causal_lm.generator import CausalLM
from inference.models.model import Advance, Generator, Model, Prepared
from tests.bench.table import print_table
from tests.inference.test_models import answers

MODELS_FILE: Final = Path(__file__).parents[2] / "deploy" / "models.toml"
SENTENCES: Final = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())["sentence"]
LANGUAGES: Final = {"en": "English", "es": "Spanish", "fr": "French"}
PAIRS: Final = [("es", "en"), ("fr", "en"), ("en", "es"), ("en", "fr"), ("fr", "es"), ("es", "fr")]
ORDER: Final = 6  # characters of the longest n-grams
BETA: Final = 2  # recall counts for twice as much
FEW: Final = 8  # sentences, for a model that takes many seconds for each

Translate = Callable[[str, str, str], str]


def measure_translation() -> None:
    """Print the table: of Apertium, of the language model, and of no translator at all."""
    apertium.install(print)
    declared = read_models(MODELS_FILE)
    rules, smol, minilm = (
        load(declared[name]) for name in ("apertium", "SmolLM2-135M-Instruct", "all-MiniLM-L6-v2")
    )
    assert not isinstance(rules, Generator)
    assert not isinstance(minilm, Generator)
    assert isinstance(smol, CausalLM)
    rows = []
    for source, target in PAIRS:
        rows.append(_row("apertium", _by_rules(rules), source, target, minilm))
        if target == "en":
            few = SENTENCES[:FEW]
            rows.append(_row("SmolLM2, asked to", _by_chat(smol), source, target, minilm, few))
        rows.append(_row("none: the text as it is", lambda text, *_: text, source, target, minilm))
    head = ("translator", "from", "into", "asked", "chrF2", "meaning", "ms a sentence")
    print_table("translations", head, rows)


def _row(  # noqa: PLR0917 - one row after the other
    name: str,
    translate: Translate,
    source: str,
    target: str,
    judge: Model,
    sentences: Sequence[Mapping[str, str]] = SENTENCES,
) -> tuple[str, ...]:
    translate(sentences[0][source], source, target)  # what it starts, it starts now
    began = time.perf_counter()
    said = [translate(one[source], source, target) for one in sentences]
    each_ms = 1_000 * (time.perf_counter() - began) / len(sentences)
    wanted = [one[target] for one in sentences]
    # the judge reads English alone
    meaning = f"{_likeness(judge, said, wanted):.2f}" if target == "en" else ""
    asked, score = str(len(sentences)), f"{chrf(said, wanted):.0f}"
    return (name, LANGUAGES[source], LANGUAGES[target], asked, score, meaning, f"{each_ms:.1f}")


def _by_rules(model: Model) -> Translate:
    def translate(text: str, source: str, target: str) -> str:
        wanted = TranslationInput(text=text, source=source, target=target)
        (answer,) = answers(model, "translation", [wanted])
        result: Any = answer.result
        return str(result.translation_text)

    return translate


def _by_chat(model: CausalLM) -> Translate:
    def translate(text: str, source: str, target: str) -> str:
        wanted = f"Translate from {LANGUAGES[source]} into {LANGUAGES[target]}: {text}"
        (prepared,) = model.tokenize("chatbot", [ChatbotInput(input=wanted)])
        assert isinstance(prepared, Prepared)
        draft = model.join(prepared)
        while True:
            (advance,) = model.step([draft])
            assert isinstance(advance, Advance)
            if advance.result is not None:
                result: Any = advance.result
                return str(result.response)

    return translate


def _likeness(judge: Model, said: Sequence[str], wanted: Sequence[str]) -> float:
    """How near the meanings are, on the average: the cosine of two sentences' embeddings."""
    pairs = [
        SemanticSimilarityInput(sentences=[one or "?", other])
        for one, other in zip(said, wanted, strict=True)
    ]
    results: list[Any] = [one.result for one in answers(judge, "semantic-similarity", pairs)]
    return fmean(result.score for result in results)


def chrf(said: Sequence[str], wanted: Sequence[str]) -> float:
    """How many n-grams of characters translations share with what they should be, 0 to 100.

    Source: Popović, chrF: character n-gram F-score for automatic MT evaluation, WMT 2015;
    as sacrebleu counts it: over the whole corpus, without spaces, all orders weigh alike.
    """
    precisions, recalls = [], []
    for order in range(1, ORDER + 1):
        found, right, there = 0, 0, 0
        for one, other in zip(said, wanted, strict=True):
            ours, theirs = _grams(one, order), _grams(other, order)
            right += (ours & theirs).total()
            found += ours.total()
            there += theirs.total()
        precisions.append(right / max(1, found))
        recalls.append(right / max(1, there))
    precision, recall = fmean(precisions), fmean(recalls)
    return 100 * (1 + BETA**2) * precision * recall / max(BETA**2 * precision + recall, 1e-9)


def _grams(text: str, order: int) -> Counter[str]:
    bare = "".join(text.split())
    return Counter(bare[at : at + order] for at in range(len(bare) - order + 1))


if __name__ == "__main__":
    measure_translation()
