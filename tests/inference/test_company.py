"""What a model says of an input depends on nothing but the input."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.models import read_models
from events.tasks import all_tasks
from events.tasks.embeddings import EmbeddingsInput
from inference.models.model import Model, Prepared
from inference.models.sentence_transformers.encoder import SentenceEncoder, _prepare
from tests.inference.conftest import MODELS_FILE
from tests.inference.test_models import answers

TASKS = all_tasks()
BATCHES = ("en_core_web_sm", "all-MiniLM-L6-v2", "py3langid")
CASES = [(name, task) for name in BATCHES for task in read_models(MODELS_FILE)[name].tasks]
ROUNDED = 2e-5  # what the order of additions makes of float32, in products of other shapes

texts = st.one_of(
    st.sampled_from(
        [
            "The keeper opened the gate.",
            "It is raining, and nobody came!",
            "Ada Lovelace met Charles Babbage in London. They talked for hours.",
            "🙂",
            "a",
        ]
    ),
    st.lists(st.sampled_from(["gate", "old", "Rome", "I", "hate", "!", "3"]), min_size=1).map(
        " ".join
    ),
    st.text(min_size=1, max_size=40).filter(lambda text: bool(text.strip()) and "\0" not in text),
)
sentences = st.lists(texts, min_size=2, max_size=2)
inputs: Mapping[str, st.SearchStrategy[Mapping[str, Any]]] = {
    "embeddings": st.fixed_dictionaries({"sentences": st.lists(texts, min_size=1, max_size=4)}),
    "semantic-similarity": st.fixed_dictionaries({"sentences": sentences}),
    "classification": st.fixed_dictionaries(
        {
            "text": texts,
            "labels": st.lists(
                st.sampled_from(["rain", "history", "doors"]), min_size=1, unique=True
            ),
        }
    ),
}
of_a_text = st.fixed_dictionaries({"text": texts})


@pytest.mark.parametrize(("name", "task"), CASES)
@settings(max_examples=8)
@given(data=st.data())
def test_company_and_padding_change_no_answer(
    data: st.DataObject, name: str, task: str, batch_models: Mapping[str, Model]
) -> None:
    fields = data.draw(st.lists(inputs.get(task, of_a_text), min_size=2, max_size=6))
    values = [TASKS[task].takes(**each) for each in fields]

    together = answers(batch_models[name], task, values)

    for value, found in zip(values, together, strict=True):
        (alone,) = answers(batch_models[name], task, [value])
        assert plain(found) == near(plain(alone))


@pytest.mark.parametrize("task", [task for name, task in CASES if name == "all-MiniLM-L6-v2"])
@settings(max_examples=8)
@given(data=st.data())
def test_cutting_changes_no_answer(
    data: st.DataObject, task: str, embeddings_model: SentenceEncoder
) -> None:
    value = TASKS[task].takes(**data.draw(inputs.get(task, of_a_text)))
    (whole,) = answers(embeddings_model, task, [value])
    (prepared,) = embeddings_model.tokenize(task, [value])
    assert isinstance(prepared, Prepared)

    parts, left = [], prepared
    while left.rows > 1 and data.draw(st.booleans()):
        part, left = embeddings_model.cut(left, data.draw(st.integers(1, left.tokens - 1)))
        parts.append(part)
    found = [embeddings_model.read(task, [part])[0] for part in [*parts, left]]

    assert plain(embeddings_model.answer(task, prepared, found)) == near(plain(whole))


def test_what_runs_beside_it_changes_no_answer(embeddings_model: SentenceEncoder) -> None:
    """Two threads in one model; what one wants of all layers is none of the other's business."""
    texts = ["I love it!", "It is raining, and nobody came.", "🙂"]
    alone = [answers(embeddings_model, *asked(number, texts)) for number in range(6)]
    with ThreadPoolExecutor(2, initializer=embeddings_model.enter) as threads:
        found = threads.map(
            lambda number: answers(embeddings_model, *asked(number, texts)), [*range(6)] * 5
        )

        for beside, expected in zip(found, alone * 5, strict=True):
            assert [plain(one) for one in beside] == [near(plain(one)) for one in expected]


def asked(number: int, texts: list[str]) -> tuple[str, list[Any]]:
    if number % 2:
        return "sentiment", [TASKS["sentiment"].takes(text=text) for text in texts]
    return "embeddings", [EmbeddingsInput(sentences=[*texts[: 1 + number % 3]])]


@given(st.lists(st.integers(1, 300), min_size=2, max_size=60), st.data())
def test_cuts_fit_and_lose_nothing(lengths: list[int], data: st.DataObject) -> None:
    left = _prepare(EmbeddingsInput(sentences=["."]), [[7] * length for length in lengths])
    tokens = data.draw(st.integers(1, left.tokens - 1))
    parts = []
    while left.rows > 1 and left.tokens > tokens:
        part, left = SentenceEncoder.cut(left, tokens)
        assert part.tokens <= tokens or part.rows == 1
        parts.append(part)

    places = [place for part in [*parts, left] for place in part.data.places]
    widths = [len(row) for part in [*parts, left] for row in part.data.rows]
    assert sorted(places) == list(range(len(lengths)))
    assert widths == [lengths[place] for place in places]


def plain(value: Any) -> Any:
    return [msgspec.to_builtins(value.result), msgspec.to_builtins(value.quantities)]


def near(value: Any) -> Any:
    """The same, with numbers that are equal but for rounding."""
    match value:
        case float():
            return pytest.approx(value, abs=ROUNDED)
        case [float(), *_]:
            return pytest.approx(value, abs=ROUNDED)
        case dict():
            return {key: near(item) for key, item in value.items()}
        case list():
            return [near(item) for item in value]
        case _:
            return value
