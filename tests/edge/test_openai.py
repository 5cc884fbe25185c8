"""OpenAI's own client against an edge whose workers say what a test wants."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

import msgspec
import openai
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from openai import AsyncOpenAI

from events import inference, streams
from events.inference import Answered, Ask, Busy, Chunk, Ended, Failed, Refused, Timing
from events.tasks import all_tasks
from events.usage import Quantities
from ledger.db import Connection
from tests.edge.running import Edge, reply, running
from tests.waiting import PATIENCE_S, until

HELLO: Any = [{"role": "user", "content": "Hello"}]
USED = Quantities(input_tokens=7, output_tokens=3)
ANSWER = {"answers": [{"text": "Hi there", "reason": "stop"}]}
MODEL = "org/rogue"


class Rogue:
    """A worker that notes what it is asked, and says what it is told to."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.says: list[inference.Reply] = []  # in place of an answer, one after the other
        self.result: Any = ANSWER
        self.pieces: list[Any] = []
        self.end: inference.Reply = Ended("stop", 0, USED, Timing())

    async def __call__(self, message: Msg, ask: Ask) -> None:
        self.asked.append(json.loads(ask.input))
        if self.says:
            await reply(message, self.says.pop(0))
        elif ask.stream:
            for number, piece in enumerate(self.pieces):
                used = Quantities(input_tokens=7, output_tokens=number + 1)
                await reply(message, Chunk(number, json.dumps(piece).encode(), used))
            await reply(message, self.end)
        else:
            result = json.dumps(self.result).encode()
            await reply(message, Answered(result, USED, Timing()))


async def serve(edge: Edge, task: str) -> Rogue:
    rogue = Rogue()
    await edge.serve(rogue, model=MODEL, task=task)
    return rogue


@pytest.fixture
async def client(edge: Edge) -> AsyncIterator[AsyncOpenAI]:
    async with speaking(edge) as client:
        yield client


def speaking(edge: Edge, **options: Any) -> AsyncOpenAI:
    return AsyncOpenAI(
        api_key=edge.api_key, base_url=f"{edge.url}/v1", timeout=PATIENCE_S, **options
    )


async def lines_of(edge: Edge, path: str, body: Any) -> list[str]:
    """The data of a stream's messages, as they came."""
    async with edge.client() as client, client.stream("POST", path, json=body) as response:
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/event-stream"
        lines = [line async for line in response.aiter_lines() if line]
    assert all(line.startswith("data: ") for line in lines)
    return [line.removeprefix("data: ") for line in lines]


async def test_a_conversation_is_gone_on_with(edge: Edge, client: AsyncOpenAI) -> None:
    rogue = await serve(edge, "chat")

    asked: Any = {"model": MODEL, "messages": HELLO}
    response = await client.chat.completions.with_raw_response.create(**asked)
    answer = response.parse()

    assert answer.choices[0].message.content == "Hi there"
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == MODEL
    assert answer.id == f"chatcmpl-{UUID(response.request_id or '').hex}"
    assert answer.usage is not None
    assert answer.usage.model_dump(exclude_none=True) == {
        "prompt_tokens": 7,
        "completion_tokens": 3,
        "total_tokens": 10,
    }
    assert [asked["messages"] for asked in rogue.asked] == [HELLO]
    assert await edge.metered() == 1


async def test_what_is_asked_for_reaches_the_model(edge: Edge, client: AsyncOpenAI) -> None:
    rogue = await serve(edge, "chat")
    rogue.result = {"answers": 2 * ANSWER["answers"]}

    answer = await client.chat.completions.create(
        model=MODEL,
        messages=[
            {"role": "developer", "content": "Be brief."},
            {"role": "assistant", "content": "Yes?"},
            {"role": "user", "content": [{"type": "text", "text": text} for text in ("a", "b")]},
        ],
        max_completion_tokens=5,
        stop="x",
        n=2,
        seed=-3,
        temperature=0.5,
        top_p=0.9,
    )

    (asked,) = rogue.asked
    assert asked == {
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "assistant", "content": "Yes?"},
            {"role": "user", "content": "a\nb"},
        ],
        "max_tokens": 5,
        "stop": ["x"],
        "n": 2,
        "seed": -3,
        "temperature": 0.5,
        "top_p": 0.9,
        "stream": False,
    }
    assert [choice.index for choice in answer.choices] == [0, 1]


async def test_what_asks_for_nothing_is_taken(edge: Edge, client: AsyncOpenAI) -> None:
    rogue = await serve(edge, "chat")
    harmless: dict[str, Any] = {
        "audio": None,
        "frequency_penalty": 0,
        "functions": None,
        "function_call": None,
        "logit_bias": {},
        "logprobs": False,
        "max_completion_tokens": None,
        "max_tokens": 9,
        "metadata": None,
        "modalities": ["text"],
        "n": 1,
        "parallel_tool_calls": True,
        "presence_penalty": 0.0,
        "prompt_cache_key": "k",
        "response_format": {"type": "text"},
        "safety_identifier": "s",
        "seed": None,
        "service_tier": "auto",
        "stop": None,
        "store": False,
        "stream": False,
        "stream_options": None,
        "temperature": None,
        "tool_choice": "none",
        "tools": [],
        "top_logprobs": None,
        "user": "u",
    }

    await client.chat.completions.create(model=MODEL, messages=HELLO, **harmless)

    assert rogue.asked[0]["max_tokens"] == 9


async def test_an_answer_can_be_sent_back_as_it_came(edge: Edge, client: AsyncOpenAI) -> None:
    rogue = await serve(edge, "chat")
    answer = await client.chat.completions.create(model=MODEL, messages=HELLO)
    message = answer.choices[0].message

    # the second with all that might have been in it, as null
    forms: Sequence[Any] = (message, message.model_dump())
    for back in forms:
        await client.chat.completions.create(model=MODEL, messages=[*HELLO, back, *HELLO])

    for asked in rogue.asked[1:]:
        assert asked["messages"][1] == {"role": "assistant", "content": "Hi there"}


NOT_HONOURED: Sequence[tuple[dict[str, Any], str | None]] = [
    ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
    ({"response_format": {"type": "json_object"}}, "response_format"),
    ({"logprobs": True}, "logprobs"),
    ({"frequency_penalty": 0.5}, "frequency_penalty"),
    ({"logit_bias": {"50": 1}}, "logit_bias"),
    ({"store": True}, "store"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"max_tokens": 3, "max_completion_tokens": 4}, "max_tokens"),
    ({"n": 0}, "n"),
    ({"n": 9}, "n"),
    ({"temperature": 2.5}, "temperature"),
    ({"stop": ["a"] * 5}, "stop"),
    ({"stop": ""}, "stop"),
    ({"extra_body": {"top_k": 3}}, "top_k"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "tool", "content": "a"}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": "a", "name": "Ada"}]}, "messages[0].name"),
    ({"messages": [{"role": "user", "content": "\0"}]}, None),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
        "messages[0].content[0].type",
    ),
]


async def test_what_is_not_honoured_is_refused_by_name(
    edge: Edge, client: AsyncOpenAI, subtests: pytest.Subtests
) -> None:
    rogue = await serve(edge, "chat")
    for more, param in NOT_HONOURED:
        with subtests.test(more=more), pytest.raises(openai.BadRequestError) as refused:
            await client.chat.completions.create(**{"model": MODEL, "messages": HELLO, **more})
        assert refused.value.param == param

    assert not rogue.asked


async def test_chunks_are_as_documented(edge: Edge) -> None:
    rogue = await serve(edge, "chat")
    rogue.pieces = [{"text": "Hi"}, {"text": " there"}]
    rogue.end = Ended("length", 2, USED, Timing())
    body = {"model": MODEL, "messages": HELLO, "stream": True}
    options = {"stream_options": {"include_usage": True}}

    *with_usage, done = await lines_of(edge, "/v1/chat/completions", {**body, **options})
    *without, also_done = await lines_of(edge, "/v1/chat/completions", body)

    assert done == also_done == "[DONE]"
    chunks = [json.loads(line) for line in with_usage]
    assert len({(chunk["id"], chunk["created"]) for chunk in chunks}) == 1
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert [chunk["usage"] for chunk in chunks[:-1]] == [None] * 4
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == {
        "prompt_tokens": 7,
        "completion_tokens": 3,
        "total_tokens": 10,
    }
    choices = [chunk["choices"][0] for chunk in chunks[:-1]]
    assert [choice["delta"] for choice in choices] == [
        {"role": "assistant", "content": ""},
        {"content": "Hi"},
        {"content": " there"},
        {},
    ]
    assert [choice["finish_reason"] for choice in choices] == [None, None, None, "length"]
    assert len(without) == 4
    assert all("usage" not in json.loads(line) for line in without)
    assert await edge.metered() == 2


async def test_several_answers_are_told_apart_in_a_stream(edge: Edge, client: AsyncOpenAI) -> None:
    rogue = await serve(edge, "chat")
    rogue.pieces = [
        {"text": "one", "index": 0},
        {"text": "two", "index": 1, "reason": "length"},
        {"text": "", "index": 0, "reason": "stop"},
    ]
    rogue.end = Ended("length", 3, USED, Timing())

    stream = await client.chat.completions.create(model=MODEL, messages=HELLO, n=2, stream=True)
    choices = [chunk.choices[0] async for chunk in stream]

    for index, text, reason in ((0, "one", "stop"), (1, "two", "length")):
        own = [choice for choice in choices if choice.index == index]
        assert own[0].delta.role == "assistant"
        assert "".join(choice.delta.content or "" for choice in own) == text
        assert [choice.finish_reason for choice in own if choice.finish_reason] == [reason]


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (Failed(), "model_failed"),
        (Ended("cancelled", 1, USED, Timing()), "worker_gone"),
    ],
)
async def test_a_stream_that_is_not_whole_ends_with_an_error(
    edge: Edge, client: AsyncOpenAI, end: inference.Reply, code: str
) -> None:
    rogue = await serve(edge, "chat")
    rogue.pieces, rogue.end = [{"text": "Hi"}], end
    asked: Any = {"model": MODEL, "messages": HELLO, "stream": True}

    lines = await lines_of(edge, "/v1/chat/completions", asked)
    stream = await client.chat.completions.create(**asked)
    heard: list[str | None] = []

    async def hear() -> None:
        async for chunk in stream:
            heard.extend(choice.delta.content for choice in chunk.choices)

    with pytest.raises(openai.APIError) as failed:
        await hear()

    assert "[DONE]" not in lines
    assert json.loads(lines[-1])["error"]["code"] == code
    assert failed.value.code == code
    assert "".join(text or "" for text in heard) == "Hi"
    assert len(rogue.asked) == 2  # its client does not try such a stream again


async def test_a_budget_that_ends_a_stream_is_an_error(
    nats: Client, nats_url: str, database_url: str, ledger: Connection, tmp_path: Any
) -> None:
    plans = tmp_path / "plans.toml"
    plans.write_text(
        '[[plan]]\nname = "default"\nprices = { output_tokens = "1000.00" }\n'
        'monthly_budget = "0.020"\n'
    )  # twenty tokens
    async with running(nats, nats_url, database_url, ledger, plans_file=str(plans)) as edge:
        rogue = await serve(edge, "chat")
        rogue.pieces = [{"text": "a "} for _ in range(30)]
        rogue.end = Ended("stop", 30, USED, Timing())
        lines = await lines_of(
            edge, "/v1/chat/completions", {"model": MODEL, "messages": HELLO, "stream": True}
        )
        async with speaking(edge) as client:
            with pytest.raises(openai.APIStatusError) as spent:
                await client.chat.completions.create(model=MODEL, messages=HELLO)

    assert len(lines) == 1 + 20 + 1
    assert json.loads(lines[-1])["error"]["code"] == "insufficient_quota"
    assert (spent.value.status_code, spent.value.type) == (402, "insufficient_quota")
    assert spent.value.code == "insufficient_quota"
    assert len(rogue.asked) == 1


async def test_errors_are_of_its_clients_classes(edge: Edge, client: AsyncOpenAI) -> None:
    rogue = await serve(edge, "chat")
    other = client.with_options(api_key="tg_wrong")
    rogue.says = [Refused("input_too_long", "Shorten it.", 422, "messages")]

    with pytest.raises(openai.BadRequestError, match="Shorten it") as too_long:
        await client.chat.completions.create(model=MODEL, messages=HELLO)
    with pytest.raises(openai.AuthenticationError):
        await other.chat.completions.create(model=MODEL, messages=HELLO)
    with pytest.raises(openai.NotFoundError) as unknown:
        await client.chat.completions.create(model="nobody", messages=HELLO)
    with pytest.raises(openai.NotFoundError, match="does not do 'embeddings'") as undone:
        await client.embeddings.create(model=MODEL, input="a")

    assert too_long.value.code == "context_length_exceeded"
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    assert undone.value.param == "model"
    assert await edge.metered() == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_its_client_tries_again_and_what_it_gets_at_last_is_billed_once(
    edge: Edge, client: AsyncOpenAI, *, stream: bool
) -> None:
    rogue = await serve(edge, "chat")
    rogue.says = [Failed(), Failed()]
    rogue.pieces = [{"text": "Hi"}]
    rogue.end = Ended("stop", 1, USED, Timing())

    asked: Any = {"model": MODEL, "messages": HELLO, "stream": stream}
    answer = await client.chat.completions.create(**asked)
    if stream:
        assert [chunk async for chunk in answer]

    assert len(rogue.asked) == 3
    assert await edge.metered() == 1


async def test_its_client_waits_as_long_as_it_is_told_to(
    nats: Client, nats_url: str, database_url: str, ledger: Connection
) -> None:
    async with running(nats, nats_url, database_url, ledger, max_wait_s=0.1) as edge:
        rogue = await serve(edge, "chat")
        rogue.says = [Busy(1, 2_500.0)] * 100
        async with edge.client() as client:
            body = {"model": MODEL, "messages": HELLO}
            busy = await client.post("/v1/chat/completions", json=body)

    assert busy.status_code == 503
    milliseconds = int(busy.headers["retry-after-ms"])
    assert 1_000 * (int(busy.headers["retry-after"]) - 1) < milliseconds
    assert milliseconds <= 1_000 * int(busy.headers["retry-after"])
    assert "x-should-retry" not in busy.headers


async def test_what_could_be_billed_twice_is_not_tried_again(
    nats: Client, nats_url: str, database_url: str, ledger: Connection
) -> None:
    """Nobody knows whether an answer's usage event is stored: here there is no stream for it."""
    async with running(nats, nats_url, database_url, ledger, publish_timeout_s=0.5) as edge:
        rogue = await serve(edge, "chat")
        await edge.nats.jetstream().delete_stream(streams.USAGE)
        async with speaking(edge) as client:
            with pytest.raises(openai.InternalServerError) as failed:
                await client.chat.completions.create(model=MODEL, messages=HELLO)

    assert failed.value.code == "metering_unavailable"
    assert failed.value.response.headers["x-should-retry"] == "false"
    assert len(rogue.asked) == 1


async def test_an_idempotency_key_is_billed_once(edge: Edge, client: AsyncOpenAI) -> None:
    rogue = await serve(edge, "chat")
    headers = {"Idempotency-Key": "once"}

    answers = [
        await client.chat.completions.create(model=MODEL, messages=HELLO, extra_headers=headers)
        for _ in range(2)
    ]

    assert answers[0] == answers[1]
    assert len(rogue.asked) == await edge.metered() == 1


PROMPTS: Sequence[tuple[Any, Any]] = [
    ("One", ["One"]),
    (["One", "Two"], ["One", "Two"]),
    ([1, 2, 3], [[1, 2, 3]]),
    ([[1, 2], [3]], [[1, 2], [3]]),
]


async def test_prompts_come_in_four_forms(edge: Edge, client: AsyncOpenAI) -> None:
    rogue = await serve(edge, "completion")
    rogue.result = {"texts": [{"text": f" {number}", "reason": "length"} for number in range(2)]}

    for prompt, _ in PROMPTS:
        answer = await client.completions.create(model=MODEL, prompt=prompt, n=2, stop=["a"])

    assert [asked["prompts"] for asked in rogue.asked] == [prompts for _, prompts in PROMPTS]
    assert rogue.asked[0]["stop"] == ["a"]
    assert answer.id.startswith("cmpl-")
    assert [choice.text for choice in answer.choices] == [" 0", " 1"]
    assert answer.choices[1].index == 1
    assert answer.choices[1].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 10


NO_COMPLETION: Sequence[dict[str, Any]] = [
    {"prompt": []},
    {"prompt": ["a", 1]},
    {"prompt": [-1]},
    {"prompt": [[]]},
    {"prompt": ""},
    {"prompt": " "},
    {"prompt": ["a", "\n"]},
    {"prompt": ["a"] * 65},
    {"echo": True},
    {"best_of": 2},
    {"suffix": "end"},
    {"logprobs": 1},
]


async def test_a_completion_refuses_what_it_does_not_honour(
    edge: Edge, client: AsyncOpenAI, subtests: pytest.Subtests
) -> None:
    await serve(edge, "completion")
    for more in NO_COMPLETION:
        with subtests.test(more=more), pytest.raises(openai.BadRequestError) as refused:
            await client.completions.create(**{"model": MODEL, "prompt": "a", **more})
        assert (refused.value.param or "").startswith(next(iter(more)))


async def test_a_completion_is_streamed(edge: Edge, client: AsyncOpenAI) -> None:
    rogue = await serve(edge, "completion")
    rogue.pieces = [{"text": "one "}, {"text": "two"}]
    rogue.end = Ended("length", 2, USED, Timing())

    stream = await client.completions.create(
        model=MODEL, prompt="a", stream=True, stream_options={"include_usage": True}
    )
    *chunks, last = [chunk async for chunk in stream]

    assert [chunk.choices[0].text for chunk in chunks] == ["one ", "two", ""]
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, None, "length"]
    assert not last.choices
    assert last.usage is not None
    assert last.usage.completion_tokens == 3


VECTORS = [[0.25, -1.5, 3e-7], [1.0, 2.0, 3.0]]


async def test_vectors_are_the_same_in_both_encodings(edge: Edge, client: AsyncOpenAI) -> None:
    rogue = await serve(edge, "embeddings")
    rogue.result = {"embeddings": VECTORS}

    by_default = await client.embeddings.create(model=MODEL, input=["a", "b"])
    as_floats = await client.embeddings.create(
        model=MODEL, input=["a", "b"], encoding_format="float"
    )
    in_base64 = await client.embeddings.create(
        model=MODEL, input=["a", "b"], encoding_format="base64"
    )

    assert [one.embedding for one in as_floats.data] == VECTORS
    assert isinstance(in_base64.data[0].embedding, str)
    for one, vector in zip(by_default.data, VECTORS, strict=True):
        assert one.embedding == pytest.approx(vector, rel=1e-7)
    assert [one.index for one in by_default.data] == [0, 1]
    assert by_default.usage.model_dump() == {"prompt_tokens": 7, "total_tokens": 7}


async def test_inputs_come_in_four_forms(edge: Edge, client: AsyncOpenAI) -> None:
    rogue = await serve(edge, "embeddings")
    rogue.result = {"embeddings": VECTORS}
    inputs: Sequence[Any] = ("One", ["One", "Two"], [1, 2], [[1], [2, 3]])

    for one in inputs:
        await client.embeddings.create(model=MODEL, input=one)
    rogue.says = [Refused("unsupported_parameter", "No.", 422, "dimensions")]
    with pytest.raises(openai.BadRequestError) as refused:
        await client.embeddings.create(model=MODEL, input="a", dimensions=8)
    with pytest.raises(openai.BadRequestError) as empty:
        await client.embeddings.create(model=MODEL, input=[])

    sentences = [["One"], ["One", "Two"], [[1, 2]], [[1], [2, 3]]]
    assert [asked["sentences"] for asked in rogue.asked[:4]] == sentences
    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "dimensions")
    assert empty.value.param == "input"


async def test_an_answer_may_also_be_fetched_later(edge: Edge) -> None:
    await serve(edge, "chat")
    async with edge.client() as client:
        taken = await client.post(
            "/v1/chat/completions",
            json={"model": MODEL, "messages": HELLO},
            headers={"Prefer": "respond-async"},
        )

        async def finished() -> bool:
            return (await client.get(taken.json()["url"])).status_code == 200

        await until(finished)
        found = (await client.get(taken.json()["url"])).json()

    assert taken.status_code == 202
    answer = json.loads(found["content"])
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"]["content"] == "Hi there"
    assert await edge.metered() == 1


async def test_models_are_listed_and_found(edge: Edge, client: AsyncOpenAI) -> None:
    await serve(edge, "chat")

    listed = [model async for model in client.models.list()]
    found = await client.models.retrieve(MODEL)
    with pytest.raises(openai.NotFoundError) as unknown:
        await client.models.retrieve("nobody/none")
    async with edge.client() as plain:
        answers = [await plain.get(f"/v1/models/{name}") for name in (MODEL, "org%2Frogue")]

    assert found in listed
    assert (found.id, found.object, found.owned_by) == (MODEL, "model", "tollgate")
    assert isinstance(found.created, int)
    assert unknown.value.code == "model_not_found"
    assert [answer.json()["tasks"] for answer in answers] == [["chat"], ["chat"]]


async def test_another_method_is_told_which_one_is_right(edge: Edge) -> None:
    async with edge.client() as client:
        answers = [
            await client.get(f"/v1/{path}")
            for path in ("chat/completions", "completions", "embeddings")
        ]

    assert [answer.status_code for answer in answers] == [405] * 3


async def test_the_same_is_to_be_had_in_our_own_words(edge: Edge) -> None:
    task = all_tasks()["chat"]
    await serve(edge, "chat")
    async with edge.client() as client:
        answer = await client.post("/v1/org%2Frogue/chat", content=task.encode(task.example))

    assert answer.json() == ANSWER
    assert msgspec.json.decode(answer.content, type=task.gives)


async def test_a_caller_who_leaves_a_stream_stops_the_worker(
    edge: Edge, client: AsyncOpenAI
) -> None:
    cancelled = asyncio.Event()

    async def hear(_: Msg) -> None:
        cancelled.set()

    async def one_piece(message: Msg, _: Ask) -> None:
        await reply(message, Chunk(0, b'{"text":"Hi"}', USED))

    await edge.nats.subscribe(inference.CANCELS, cb=hear)
    await edge.serve(one_piece, model=MODEL, task="chat")
    stream = await client.chat.completions.create(model=MODEL, messages=HELLO, stream=True)
    await anext(aiter(stream))
    await stream.close()

    async with asyncio.timeout(PATIENCE_S):
        await cancelled.wait()
