"""NLP Cloud's own client, pointed at us."""

import asyncio
from typing import Any

import nlpcloud
import pytest

from tests.system.system import System

SPACY, MINILM = "en_core_web_sm", "all-MiniLM-L6-v2"


async def test_its_client_asks_and_understands(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nlpcloud, "BASE_URL", system.url)

    async def call(model: str, task: str, *inputs: Any, **client: Any) -> Any:
        caller = nlpcloud.Client(model, system.api_key, **client)
        return await asyncio.to_thread(getattr(caller, task), *inputs)

    text = "The keeper opened the gate."
    tokens = await call(SPACY, "tokens", text)
    arcs = await call(SPACY, "dependencies", text, gpu=True)
    sentences = await call(SPACY, "sentence_dependencies", text, lang="en")
    languages = await call("py3langid", "langdetection", text, lang="fr")
    score = await call(MINILM, "semantic_similarity", [text, "The guard unlocked the door."])
    mood = await call(MINILM, "sentiment", "I love it!")
    labels = await call(MINILM, "classification", text, ["doors", "money"])

    assert tokens["tokens"][2]["lemma"] == "open"
    assert arcs["arcs"][1] == {
        "start": 1,
        "end": 2,
        "label": "nsubj",
        "text": "keeper",
        "dir": "left",
    }
    assert sentences["sentence_dependencies"][0]["sentence"] == text
    assert list(languages["languages"][0]) == ["en"]
    assert score["score"] > 0.5
    assert mood["scored_labels"][0]["label"] == "POSITIVE"
    assert labels["labels"][0] == "doors"
    assert labels["scores"][0] > labels["scores"][1]


async def test_its_client_has_several_texts_as_it_knows_them(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nlpcloud, "BASE_URL", system.url)
    client = nlpcloud.Client("SmolLM2-135M-Instruct", system.api_key)

    answer = await asyncio.to_thread(
        client.generation,
        "My favourite food is",
        max_length=8,
        temperature=1.5,
        remove_input=True,
        num_return_sequences=3,
    )

    texts = answer["generated_text"].split("\n--------------\n")
    assert texts == answer["generated_texts"]
    assert len(set(texts)) == 3
    assert 8 < answer["nb_generated_tokens"] <= 24


async def test_what_its_client_asks_of_a_language_that_is_not_read_is_refused(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nlpcloud, "BASE_URL", system.url)
    client = nlpcloud.Client(SPACY, system.api_key, lang="fr")

    with pytest.raises(nlpcloud.HTTPError, match="reads en, and nothing here translates 'fr'"):
        await asyncio.to_thread(client.entities, "Le gardien a ouvert la grille.")
