"""How often a mood is told right: on rated snippets that no training has seen."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from deploy.local.sentiment import SOURCES, Snippet, fetch
from events.models import read_models
from events.tasks.sentiment import SentimentInput, SentimentResult
from inference.models import load
from inference.models.model import Generator, Model, Prepared
from tests.bench.table import print_table

MODEL: Final = "all-MiniLM-L6-v2"
MODELS_FILE: Final = Path(__file__).parents[2] / "deploy" / "models.toml"
BATCH: Final = 256


def measure_sentiment() -> None:
    """Print the table."""
    model = load(read_models(MODELS_FILE)[MODEL])
    assert not isinstance(model, Generator)
    snippets = [snippet for snippet in fetch() if snippet.held_back]
    snippets.sort(key=lambda snippet: len(snippet.text))  # so that little is padded
    right = [
        found == snippet.positive
        for first in range(0, len(snippets), BATCH)
        for snippet, found in _told(model, snippets[first : first + BATCH])
    ]
    rows = [_row("all", snippets, right, SOURCES)]
    rows += [_row(source, snippets, right, [source]) for source in SOURCES]
    print_table(
        "Sentiment of snippets that were held back from training",
        ("source", "snippets", "positive", "told right"),
        rows,
    )


def _told(model: Model, snippets: Sequence[Snippet]) -> Sequence[tuple[Snippet, bool]]:
    values = [SentimentInput(text=snippet.text) for snippet in snippets]
    prepared = [one for one in model.tokenize("sentiment", values) if isinstance(one, Prepared)]
    found = []
    for snippet, answer in zip(snippets, model.run("sentiment", prepared), strict=True):
        result = getattr(answer, "result", None)
        assert isinstance(result, SentimentResult)
        found.append((snippet, result.scored_labels[0].label == "POSITIVE"))
    return found


def _row(
    name: str, snippets: Sequence[Snippet], right: Sequence[bool], sources: Sequence[str]
) -> tuple[str, ...]:
    chosen = [place for place, snippet in enumerate(snippets) if snippet.source in sources]
    positive = sum(snippets[place].positive for place in chosen)
    told = sum(right[place] for place in chosen)
    return (
        name,
        f"{len(chosen):,}",
        f"{positive / len(chosen):.0%}",
        f"{told / len(chosen):.3f}",
    )


if __name__ == "__main__":
    measure_sentiment()
