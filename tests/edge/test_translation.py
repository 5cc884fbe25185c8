"""A model that reads English, callers who do not, and a translator between them."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec import Struct
from nats.aio.client import Client
from nats.aio.msg import Msg

from events import inference, streams, usage
from events.inference import Ask, Failed, Refused, Timing
from events.tasks import all_tasks
from events.tasks.translated import KEPT, TRANSLATED
from events.usage import Quantities, Usage
from ledger.db import Connection
from tests.edge.running import Edge, reply, running
from tests.waiting import until

TASKS = all_tasks()
FR_EN = {
    "bonjour": "hello",
    "monde": "world",
    "le chat": "the cat",
    "animaux": "animals",
    "bêtes": "animals",
    "argent": "money",
    "病": "disease",
    "long": "x" * 100,
    "long long": "x" * 300,  # a sentiment's target has 256 characters
}
EN_FR = {english: french for french, english in FR_EN.items()}
PRICED = """
[[plan]]
name = "default"
prices = { translated_characters = "1000.00", requests = "1.00" }
monthly_budget = "0.05"
"""  # fifty characters


class Asked:
    """What a translator and a model were asked, and what they say."""

    def __init__(self, task: str, result: Mapping[str, Any]) -> None:
        self.task = task
        self.result = result
        self.translations: list[tuple[Ask, dict[str, str]]] = []
        self.inputs: list[dict[str, Any]] = []
        self.trouble: dict[str, inference.Reply] = {}  # by text: what the translator says instead

    async def translate(self, message: Msg, ask: Ask) -> None:
        wanted = json.loads(ask.input)
        self.translations.append((ask, wanted))
        if wanted["text"] in self.trouble:
            await reply(message, self.trouble[wanted["text"]])
            return
        words = FR_EN if wanted["target"] == "en" else EN_FR
        text = words.get(wanted["text"], f"<{wanted['text']}>")
        result = json.dumps({"translation_text": text}).encode()
        await reply(message, inference.Answered(result, Quantities(input_characters=99), Timing()))

    async def answer(self, message: Msg, ask: Ask) -> None:
        self.inputs.append(json.loads(ask.input))
        result = json.dumps(self.result).encode()
        await reply(
            message,
            inference.Answered(
                result, Quantities(input_characters=5, output_characters=8), Timing(1, 2, 3)
            ),
        )


async def serving(edge: Edge, task: str, result: Mapping[str, Any]) -> Asked:
    asked = Asked(task, result)
    await edge.serve(
        asked.translate, model="translator", task="translation", languages=("en", "fr")
    )
    await edge.serve(
        asked.answer, model="english", task=task, languages=("en",), translator="translator"
    )
    return asked


async def post(
    edge: Edge, path: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> httpx.Response:
    async with edge.client() as client:
        return await client.post(path, json=body, headers=headers)


async def facts(edge: Edge) -> list[Usage]:
    """What was metered, in order."""
    jetstream = edge.nats.jetstream()
    last = (await jetstream.stream_info(streams.USAGE)).state.last_seq
    stored = [await jetstream.get_msg(streams.USAGE, seq) for seq in range(1, last + 1)]
    return [usage.decode(one.data or b"").data for one in stored]


async def test_a_french_text_is_answered_in_french_and_the_characters_are_counted_apart(
    edge: Edge,
) -> None:
    asked = await serving(edge, "summarization", {"summary_text": " the cat\n"})
    answer = await post(edge, "/v1/fr/english/summarization", {"text": "  bonjour "})

    assert answer.json() == {"summary_text": " le chat\n"}
    assert asked.inputs == [{"text": "  hello ", "size": None}]
    request_ids = {str(ask.request_id) for ask, _ in asked.translations}
    assert request_ids == {answer.headers["x-request-id"]}
    assert [wanted for _, wanted in asked.translations] == [
        {"text": "bonjour", "source": "fr", "target": "en"},
        {"text": "the cat", "source": "en", "target": "fr"},
    ]
    (fact,) = await facts(edge)
    assert (fact.model, fact.task) == ("english", "summarization")
    assert fact.quantities == Quantities(
        input_characters=5,
        output_characters=8,
        translated_characters=len("bonjour") + len("the cat"),
    )
    names = [part.split(";")[0] for part in answer.headers["server-timing"].split(", ")]
    assert names == ["tokenize", "queue", "compute", "translate", "edge"]


async def test_a_character_may_become_a_word(edge: Edge) -> None:
    await serving(edge, "summarization", {"summary_text": "disease"})
    answer = await post(edge, "/v1/fr/english/summarization", {"text": "病"})

    assert answer.json() == {"summary_text": "病"}


async def test_who_writes_the_models_language_meets_no_translator(edge: Edge) -> None:
    asked = await serving(edge, "summarization", {"summary_text": "the cat"})
    for path in ("/v1/english/summarization", "/v1/en/english/summarization"):
        answer = await post(edge, path, {"text": "hello"})
        assert answer.json() == {"summary_text": "the cat"}
        assert "translate" not in answer.headers["server-timing"]

    assert asked.translations == []
    assert [fact.quantities.translated_characters for fact in await facts(edge)] == [0, 0]


class Passes(Struct, frozen=True):
    """What is sent, what the model is to be asked, what it says, and what is given."""

    task: str
    sent: dict[str, Any]
    asked: dict[str, Any]
    says: dict[str, Any]
    given: dict[str, Any]


PASSES = [
    Passes(
        "chatbot",
        {
            "input": "bonjour",
            "context": "le chat",
            "history": [{"input": "monde", "response": "bonjour"}],
        },
        {
            "input": "hello",
            "context": "the cat",
            "history": [{"input": "world", "response": "hello"}],
        },
        {
            "response": "world",
            "history": [
                {"input": "world", "response": "hello"},
                {"input": "hello", "response": "world"},
            ],
        },
        {
            "response": "monde",
            "history": [
                {"input": "monde", "response": "bonjour"},
                {"input": "bonjour", "response": "monde"},
            ],
        },
    ),
    Passes(
        "classification",
        {"text": "le chat", "labels": ["argent", "animaux"]},
        {"text": "the cat", "labels": ["money", "animals"]},
        {"labels": ["animals", "money"], "scores": [0.9, 0.1]},
        {"labels": ["animaux", "argent"], "scores": [0.9, 0.1]},
    ),
    Passes(
        "embeddings",
        {"sentences": ["bonjour", "monde"]},
        {"sentences": ["hello", "world"]},
        {"embeddings": [[1.0], [0.5]]},
        {"embeddings": [[1.0], [0.5]]},
    ),
    Passes(
        "generation",
        {"text": "bonjour", "max_length": 5},
        {"text": "hello", "remove_input": True, "max_length": 5},
        {"generated_text": " world", "nb_generated_tokens": 1, "nb_input_tokens": 1},
        {"generated_text": "bonjour monde", "nb_generated_tokens": 1, "nb_input_tokens": 1},
    ),
    Passes(
        "generation",
        {"text": "bonjour", "remove_input": True},
        {"text": "hello", "remove_input": True},
        {"generated_text": " world", "nb_generated_tokens": 1, "nb_input_tokens": 1},
        {"generated_text": " monde", "nb_generated_tokens": 1, "nb_input_tokens": 1},
    ),
    Passes(
        "generation",
        {"text": "bonjour", "num_return_sequences": 2},
        {"text": "hello", "remove_input": True, "num_return_sequences": 2},
        {
            "generated_text": "unread",
            "generated_texts": [" world", "hello"],
            "nb_generated_tokens": 2,
            "nb_input_tokens": 1,
        },
        {
            "generated_text": "bonjour monde\n--------------\nbonjourbonjour",
            "generated_texts": ["bonjour monde", "bonjourbonjour"],
            "nb_generated_tokens": 2,
            "nb_input_tokens": 1,
        },
    ),
    Passes(
        "chat",
        {"messages": [{"role": "user", "content": "bonjour"}]},
        {"messages": [{"role": "user", "content": "hello"}]},
        {"answers": [{"text": "world", "reason": "stop"}]},
        {"answers": [{"text": "monde", "reason": "stop"}]},
    ),
    Passes(
        "paraphrasing",
        {"text": "bonjour"},
        {"text": "hello"},
        {"paraphrased_text": "world"},
        {"paraphrased_text": "monde"},
    ),
    Passes(
        "semantic-similarity",
        {"sentences": ["bonjour", "monde"]},
        {"sentences": ["hello", "world"]},
        {"score": 0.5},
        {"score": 0.5},
    ),
    Passes(
        "sentiment",
        {"text": "bonjour", "target": "monde"},
        {"text": "hello", "target": "world"},
        {"scored_labels": [{"label": "POSITIVE", "score": 0.9}]},
        {"scored_labels": [{"label": "POSITIVE", "score": 0.9}]},
    ),
    Passes(
        "summarization",
        {"text": "bonjour", "size": "large"},
        {"text": "hello", "size": "large"},
        {"summary_text": "world"},
        {"summary_text": "monde"},
    ),
]


@pytest.mark.parametrize("passes", PASSES)
async def test_a_tasks_texts_pass_through_and_nothing_else(edge: Edge, passes: Passes) -> None:
    task = TASKS[passes.task]
    asked = await serving(edge, task.name, passes.says)
    answer = await post(edge, f"/v1/fr/english/{task.name}", passes.sent)

    filled = json.loads(task.encode(task.decode_input(json.dumps(passes.sent).encode())))
    assert answer.json() == passes.given
    assert asked.inputs == [{**filled, **passes.asked}]
    assert await edge.metered() == 1


def test_of_every_task_it_is_said_whether_it_is_translated() -> None:
    assert TRANSLATED.keys() | KEPT.keys() == TASKS.keys()
    assert not TRANSLATED.keys() & KEPT.keys()
    assert {passes.task for passes in PASSES} == TRANSLATED.keys()


@pytest.mark.parametrize("task", KEPT)
async def test_what_an_answer_says_of_the_text_itself_is_not_translated(
    edge: Edge, task: str
) -> None:
    asked = await serving(edge, task, {})
    refused = await post(
        edge, f"/v1/fr/english/{task}", json.loads(TASKS[task].encode(TASKS[task].example))
    )

    assert (refused.status_code, refused.json()["code"]) == (422, "language_not_spoken")
    assert KEPT[task] in refused.json()["message"]
    assert (asked.translations, await edge.metered()) == ([], 0)


async def test_a_language_that_the_translator_does_not_speak_is_refused(edge: Edge) -> None:
    await serving(edge, "summarization", {"summary_text": "the cat"})
    refused = await post(edge, "/v1/de/english/summarization", {"text": "hallo"})

    assert (refused.status_code, refused.json()["code"]) == (422, "language_not_spoken")
    assert "reads en, and nothing here translates 'de'" in refused.json()["message"]


@pytest.mark.parametrize(
    ("task", "body", "param"),
    [
        ("generation", {"text": "bonjour", "bad_words": ["monde"]}, "bad_words"),
        ("generation", {"text": "bonjour", "end_sequence": "."}, "end_sequence"),
        ("generation", {"text": "bonjour", "stream": True}, "stream"),
        ("classification", {"text": "le chat", "labels": ["animaux", "bêtes"]}, "labels"),
        ("sentiment", {"text": "bonjour", "target": "long long"}, "target"),
        ("paraphrasing", {"text": "long"}, None),
    ],
)
async def test_what_cannot_be_asked_in_another_language_is_refused(
    edge: Edge, task: str, body: dict[str, Any], param: str | None
) -> None:
    asked = await serving(edge, task, {})
    refused = await post(edge, f"/v1/fr/english/{task}", body)

    assert refused.status_code in {400, 422}, refused.text
    assert refused.json()["error"]["param"] == param, refused.text
    assert (asked.inputs, await edge.metered()) == ([], 0)


@pytest.mark.parametrize(
    "body",
    [
        {"input": "bonjour", "history": [{"input": "a", "response": "b"}] * 32},
        {"input": "a" * 50_001, "context": "b" * 50_000},
    ],
    ids=["texts", "characters"],
)
async def test_more_than_a_request_may_have_translated_is_refused_before_it_is(
    edge: Edge, body: dict[str, Any]
) -> None:
    asked = await serving(edge, "chatbot", {})
    refused = await post(edge, "/v1/fr/english/chatbot", body)

    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_input")
    assert "at most 64 texts and 100,000 characters" in refused.json()["message"]
    assert (asked.translations, asked.inputs, await edge.metered()) == ([], [], 0)


@pytest.mark.parametrize(
    ("text", "trouble", "status", "code"),
    [
        ("bonjour", Refused("too_odd", "Too odd.", param="text"), 422, "too_odd"),
        ("bonjour", Failed(), 502, "model_failed"),
        ("the cat", Refused("too_odd", "Too odd."), 502, "model_failed"),
        ("the cat", Failed(), 502, "model_failed"),
        (
            "the cat",
            inference.Answered(b'{"text": 1}', Quantities(), Timing()),
            502,
            "bad_reply",
        ),
    ],
)
async def test_where_the_translator_fails_nothing_is_billed(
    edge: Edge, text: str, trouble: inference.Reply, status: int, code: str
) -> None:
    asked = await serving(edge, "summarization", {"summary_text": "the cat"})
    asked.trouble[text] = trouble
    failed = await post(edge, "/v1/fr/english/summarization", {"text": "bonjour"})

    assert (failed.status_code, failed.json()["code"]) == (status, code)
    assert await edge.metered() == 0


async def test_a_plan_prices_what_is_translated_and_reserves_the_most_of_it(
    nats: Client, nats_url: str, database_url: str, ledger: Connection, tmp_path: Path
) -> None:
    plans = tmp_path / "plans.toml"
    plans.write_text(PRICED)
    moods = {"scored_labels": [{"label": "POSITIVE", "score": 0.9}]}
    async with running(nats, nats_url, database_url, ledger, plans_file=str(plans)) as edge:
        asked = await serving(edge, "sentiment", moods)
        fits = await post(edge, "/v1/fr/english/sentiment", {"text": "bonjour"})
        too_much = await post(edge, "/v1/fr/english/sentiment", {"text": "bonjour " * 7})
        free = await post(edge, "/v1/en/english/sentiment", {"text": "hello " * 50})
        costs = [fact.quantities.cost for fact in await facts(edge)]

    assert [one.status_code for one in (fits, too_much, free)] == [200, 402, 200]
    assert len(asked.translations) == 1
    assert costs == [len("bonjour") * 1_000_000 + 1_000, 1_000]


async def test_a_repeat_is_the_same_request_only_in_the_same_language(edge: Edge) -> None:
    path = "/english/summarization"
    await serving(edge, "summarization", {"summary_text": "the cat"})
    key = {"Idempotency-Key": "once"}
    first = await post(edge, f"/v1/fr{path}", {"text": "bonjour"}, key)
    again = await post(edge, f"/v1/fr{path}", {"text": "bonjour"}, key)
    other = await post(edge, f"/v1{path}", {"text": "bonjour"}, key)

    assert first.json() == again.json() == {"summary_text": "le chat"}
    assert other.json()["code"] == "idempotency_key_reused"
    assert await edge.metered() == 1


async def test_a_caller_that_leaves_takes_its_translations_along(edge: Edge) -> None:
    cancelled = []

    async def hear(message: Msg) -> None:
        cancelled.append(message.subject)

    async def never(_message: Msg, ask: Ask) -> None:
        waiting.append(ask)

    waiting: list[Ask] = []
    await edge.nats.subscribe(inference.CANCELS, cb=hear)
    await edge.serve(never, model="slow", task="translation", languages=("en", "fr"))
    await edge.serve(
        never, model="english", task="embeddings", languages=("en",), translator="slow"
    )
    async with edge.client() as client:
        calling = asyncio.create_task(
            client.post("/v1/fr/english/embeddings", json={"sentences": ["bonjour", "monde"]})
        )
        await until(lambda: len(waiting) == 2)
        calling.cancel()
        await until(lambda: len(cancelled) == 2)

    assert set(cancelled) == {inference.cancel_subject(waiting[0].request_id)}
    assert await edge.metered() == 0
