"""Odd texts for every task of every model, as a caller may send them: a 4xx or an answer."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec

from events.tasks import Task, all_tasks
from events.tasks.chatbot import ChatbotInput
from events.tasks.task import MAX_CHARACTERS, StreamedInput
from tests.inference.test_company import near

ODD = {
    "empty": "",
    "blank": " \n\t",
    "one character": "a",
    "one mark": "!",
    "emoji": "🙂🙃🙂 👩‍👩‍👧‍👦 🇩🇪",
    "control characters": "\x01\x02\x1b[31m\x7f\u202e\ufeff\u200b",
    "nul": "a\0b",
    "unpaired surrogate": "\ud83d",
    "one long word": "x" * MAX_CHARACTERS,
    "marks": "!" * MAX_CHARACTERS,
    "short words": "a " * (MAX_CHARACTERS // 2),
    "too long": "a " * (MAX_CHARACTERS // 2) + "a",
}
TEDIOUS = {"one character", "one mark", "emoji"}  # for those that would write a page about it
PAGE = 32  # tokens
TALKED_ABOUT = {"control characters"}  # at length, by a chatbot, whose length nobody can choose
NEVER_TAKEN = {"empty", "blank", "nul", "unpaired surrogate", "too long"}
TEXTS = {
    "text",
    "input",
    "question",
    "context",
    "sentences",
    "labels",
    "prompts",
}  # fields that are read


async def test_odd_texts_are_refused_or_answered_and_nobody_else_notices(
    client: httpx.AsyncClient,
) -> None:
    tasks = all_tasks()
    listed = (await client.get("/v1/models")).json()["data"]
    for model in listed:
        # all of a model's tasks side by side: a step takes as long for one text as for many
        asked = [tasks[name] for name in model["tasks"]]
        good = await asyncio.gather(*(_post_good(client, model["id"], task) for task in asked))
        async with asyncio.TaskGroup() as group:
            for task, before in zip(asked, good, strict=True):
                group.create_task(_try(client, model["id"], task, before))
    assert (await client.get("/v1/models")).json()["data"] == listed  # and all still run


async def _post_good(client: httpx.AsyncClient, model: str, task: Task) -> httpx.Response:
    response = await client.post(f"/v1/{model}/{task.name}", content=task.encode(task.example))
    assert response.status_code == 200, (task.name, response.text)
    return response


async def _try(client: httpx.AsyncClient, model: str, task: Task, before: httpx.Response) -> None:
    path = f"/v1/{model}/{task.name}"
    good = msgspec.to_builtins(task.example)
    writes = task.most(task.example).output_tokens > PAGE
    names = ODD.keys() - (TEDIOUS if writes else set())
    if isinstance(task.example, ChatbotInput):
        names -= TALKED_ABOUT
    bodies = [(name, body) for name in names for body in _with(good, ODD[name])]
    beside, *odd = await asyncio.gather(
        _post_good(client, model, task),
        *(client.post(path, content=json.dumps(body)) for _, body in bodies),
    )

    if not isinstance(task.example, StreamedInput):  # or it may be chosen by chance
        assert beside.json() == near(before.json())
    for (name, _), answer in zip(bodies, odd, strict=True):
        told = (path, name, answer.status_code, answer.text[:200])
        if name in NEVER_TAKEN or answer.status_code != 200:
            assert 400 <= answer.status_code < 429, told
            assert answer.json()["code"], told
            assert len(answer.json()["message"]) < 500, told
        else:
            task.decode_result(answer.content)


def _with(good: dict[str, Any], text: str) -> Iterator[dict[str, Any]]:
    """The input with the text in place of one of its own, for each of them."""
    for field, value in good.items():
        if field == "context" and not text.strip():
            continue  # a conversation may be about nothing
        if field in TEXTS and isinstance(value, str):
            yield {**good, field: text}
        elif field in TEXTS and isinstance(value, list) and isinstance(value[0], str):
            yield {**good, field: [text, *value[1:]]}
        elif field == "messages" and text.strip():  # somebody may say nothing
            yield {**good, field: [*value[:-1], {**value[-1], "content": text}]}
