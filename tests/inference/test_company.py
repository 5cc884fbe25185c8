"""What a model says of an input depends on nothing but the input."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.models import read_models
from events.tasks import all_tasks
from inference.models.model import Model
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
