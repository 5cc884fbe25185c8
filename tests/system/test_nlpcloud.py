"""NLP Cloud's own client, pointed at us."""

import asyncio
import json
from typing import Any

import nlpcloud
import pytest

from events.ids import new_id
from tests.system.system import System
from tests.waiting import until

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
    french = ["Le gardien a ouvert la porte.", ["portes", "argent"]]
    own_labels = await call(MINILM, "classification", *french, lang="fra_Latn")
    translated = await call("apertium", "translation", "El gato duerme.", "es", "en")

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
    assert own_labels["labels"][0] == "portes"
    assert translated == {"translation_text": "The cat sleeps."}


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


TEXT = "The keeper opened the gate. Then he went home to his wife, who had made some soup."
LLM = "SmolLM2-135M-Instruct"
#: Every method of the client's whose task some model does, and what is asked of it.
CALLS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    (LLM, "chatbot", {"text": "Hello!"}),
    (LLM, "generation", {"text": "The gate is", "max_length": 8}),
    (LLM, "paraphrasing", {"text": "The keeper opened the gate."}),
    (LLM, "question", {"question": "Who opened the gate?", "context": TEXT}),
    (LLM, "summarization", {"text": TEXT}),
    (MINILM, "classification", {"text": TEXT, "labels": ["doors", "money"]}),
    (MINILM, "embeddings", {"sentences": [TEXT]}),
    (MINILM, "kw_kp_extraction", {"text": TEXT}),
    (MINILM, "semantic_similarity", {"sentences": [TEXT, TEXT]}),
    (MINILM, "sentiment", {"text": TEXT}),
    (SPACY, "dependencies", {"text": TEXT}),
    (SPACY, "entities", {"text": TEXT}),
    (SPACY, "sentence_dependencies", {"text": TEXT}),
    (SPACY, "tokens", {"text": TEXT}),
    ("py3langid", "langdetection", {"text": TEXT}),
)
#: Those whose tasks nobody does here.
OTHERS = frozenset(
    {
        "ad_generation",
        "asr",
        "code_generation",
        "gs_correction",
        "image_generation",
        "intent_classification",
        "semantic_search",
        "speech_synthesis",
        "translation",
    }
)


def test_every_method_of_its_client_is_known() -> None:
    methods = {name for name in vars(nlpcloud.Client) if not name.startswith("_")}

    assert methods == {method for _, method, _ in CALLS} | OTHERS | {"async_result"}


async def test_its_client_asks_everything_and_comes_back_for_the_answers(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it does not say it sends as null; where it does not wait it gets a URL."""
    monkeypatch.setattr(nlpcloud, "BASE_URL", system.url)

    async def call(model: str, method: str, given: dict[str, Any]) -> Any:
        client = nlpcloud.Client(model, system.api_key, gpu=True, asynchronous=True)
        taken = await asyncio.to_thread(getattr(client, method), **given)
        found: list[Any] = []

        async def finished() -> bool:
            found.append(await asyncio.to_thread(client.async_result, taken["url"]))
            return found[-1] is not None

        await until(finished)
        return found[-1]

    results = await asyncio.gather(*[call(*one) for one in CALLS])

    for (_, method, given), result in zip(CALLS, results, strict=True):
        assert result["http_code"] == 200, (method, result["error_detail"])
        assert json.loads(result["content"]), method
        sent = json.loads(result["request_body"])
        assert given.items() <= sent.items() or method == "chatbot"
        assert result["finished_on"] >= result["created_on"]


async def test_its_client_understands_an_error_of_a_job(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nlpcloud, "BASE_URL", system.url)
    client = nlpcloud.Client(SPACY, system.api_key, asynchronous=True)

    with pytest.raises(nlpcloud.HTTPError, match="404 Client Error"):
        await asyncio.to_thread(client.async_result, f"{system.url}/v1/jobs/{new_id()}")
    with pytest.raises(nlpcloud.HTTPError, match="does not do 'asr'"):
        await asyncio.to_thread(client.asr, "https://example.com/a.mp3")
