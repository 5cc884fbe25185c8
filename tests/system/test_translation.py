"""French, to models that read English alone: `tollgate up` as it is shipped."""

import json
from typing import Any

import httpx

from tests.system.system import System
from tests.waiting import until

MINILM, SMOL = "all-MiniLM-L6-v2", "SmolLM2-135M-Instruct"


async def ask(client: httpx.AsyncClient, path: str, **body: Any) -> httpx.Response:
    answer = await client.post(f"/v1/{path}", json=body)
    assert answer.status_code == 200, answer.text
    return answer


async def test_french_is_understood_by_models_that_read_english(client: httpx.AsyncClient) -> None:
    pleased = "Ce film est merveilleux, une joie du début à la fin."
    annoyed = "Le service était horrible et la nourriture était froide."
    moods = [
        (await ask(client, f"fr/{MINILM}/sentiment", text=text)).json()["scored_labels"]
        for text in (pleased, annoyed)
    ]
    topics = await ask(
        client,
        f"fr/{MINILM}/classification",
        text="L'équipe a gagné le match de football hier soir.",
        labels=["politique", "sport", "cuisine"],
    )
    same, other = [
        (await ask(client, f"fr/{MINILM}/semantic-similarity", sentences=pair)).json()["score"]
        for pair in (
            ["Le chat dort dans la maison.", "Un chat dort à la maison."],
            ["Le chat dort dans la maison.", "Le gouvernement a annoncé de nouveaux impôts."],
        )
    ]

    assert [mood[0]["label"] for mood in moods] == ["POSITIVE", "NEGATIVE"]
    assert topics.json()["labels"][0] == "sport"
    assert same > 0.6
    assert other < 0.3


async def test_who_asks_in_french_is_answered_in_french(client: httpx.AsyncClient) -> None:
    answered = await ask(
        client, f"fr/{SMOL}/chatbot", input="Quelle est la capitale de la France ?"
    )
    response = answered.json()["response"]
    told = await ask(client, "py3langid/langdetection", text=response)

    assert "Paris" in response
    assert "fr" in told.json()["languages"][0]
    assert answered.json()["history"] == [
        {"input": "Quelle est la capitale de la France ?", "response": response}
    ]


async def test_what_was_translated_is_in_the_usage_once_and_apart(system: System) -> None:
    text = "Le chat dort dans la maison."
    async with system.client(system.admin_headers) as admin:
        account = (await admin.post("/v1/admin/accounts", json={"name": "Aimée"})).json()
        made = await admin.post(f"/v1/admin/accounts/{account['id']}/keys", json={"name": "k"})
    headers = {"Authorization": f"Bearer {made.json()['api_key']}"}

    async with system.client(headers) as client:
        plain = await ask(client, f"en/{MINILM}/embeddings", sentences=["The cat sleeps."])
        french = await ask(client, f"fr/{MINILM}/embeddings", sentences=[text, text])
        asked = [plain, french]
        receipts = [await _quantities(client, one.headers["x-request-id"]) for one in asked]
        rows = await client.get("/v1/usage", params={"group_by": "model,task", "bucket": "year"})

    assert [one["translated_characters"] for one in receipts] == [0, 2 * len(text)]
    assert receipts[1]["input_characters"] == 2 * len("The cat sleeps in the house.")
    (used,) = rows.json()["data"]  # and none of the translator
    assert (used["model"], used["task"], used["requests"]) == (MINILM, "embeddings", 2)
    assert used["translated_characters"] == 2 * len(text)


async def _quantities(client: httpx.AsyncClient, request_id: str) -> dict[str, int]:
    """What is recorded of a request, once it is folded."""
    path = f"/v1/usage/requests/{request_id}"

    async def is_there() -> bool:
        return (await client.get(path)).status_code == 200

    await until(is_there)
    quantities: dict[str, int] = (await client.get(path)).json()["quantities"]
    return quantities


async def test_a_translation_can_be_asked_for_by_itself(client: httpx.AsyncClient) -> None:
    said = await ask(client, "apertium/translation", text="El gato duerme.", target="en")

    assert said.json() == {"translation_text": "The cat sleeps."}


async def test_who_asks_in_french_may_wait_for_the_answer(client: httpx.AsyncClient) -> None:
    text = "Ce film est merveilleux."
    taken = await client.post(f"/v1/async/fr/{MINILM}/sentiment", json={"text": text})
    assert taken.status_code == 202, taken.text
    path = f"/v1/jobs/{taken.json()['url'].rpartition('/')[2]}"

    async def is_done() -> bool:
        return (await client.get(path)).status_code == 200

    await until(is_done)
    found = (await client.get(path)).json()
    quantities = await _quantities(client, found["request_id"])

    assert json.loads(found["content"])["scored_labels"][0]["label"] == "POSITIVE"
    assert quantities["translated_characters"] == len(text)
