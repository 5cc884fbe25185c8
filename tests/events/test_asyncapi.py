"""The AsyncAPI document says what is so."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from events import budgets, jobs, streams, usage
from events.asyncapi import document
from events.subjects import token
from tests.usage import a_usage

COPY = Path(__file__).parents[2] / "docs" / "asyncapi.json"
DOCUMENT: Any = msgspec.to_builtins(document())


def found(kind: str, within: Any = DOCUMENT) -> Iterator[Any]:
    """Every value under a key, wherever it is."""
    if isinstance(within, dict):
        for key, value in within.items():
            if key == kind:
                yield value
            yield from found(kind, value)
    elif isinstance(within, list):
        for value in within:
            yield from found(kind, value)


def test_the_copy_in_the_documentation_is_this_version_s() -> None:
    assert msgspec.json.decode(COPY.read_bytes()) == DOCUMENT, "run `make asyncapi`"


def test_every_reference_leads_somewhere() -> None:
    references = list(found("$ref"))
    for reference in references:
        place = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]

    assert references


def test_the_examples_are_events() -> None:
    messages = DOCUMENT["components"]["messages"]
    for name, decode in (
        ("UsageRecorded", usage.decode),
        ("UsageVoided", usage.decode),
        ("BudgetReached", budgets.decode),
        ("JobFinished", jobs.decode_event),
    ):
        example = messages[name]["examples"][0]["payload"]
        event: object = decode(msgspec.json.encode(example))
        assert type(event).__name__ == name
        assert example["type"] == messages[name]["name"]


def test_subjects_are_what_is_published_to() -> None:
    fact = a_usage()
    channels = DOCUMENT["channels"]

    assert channels["usage"]["address"].format(
        account=fact.account_id, model=token(fact.model), task=token(fact.task)
    ) == usage.subject(fact)
    for channel in channels.values():
        parameters = {name: name for name in channel["parameters"]}
        assert channel["address"].format(**parameters)
        assert channel["address"].count("{") == len(parameters)


def test_retention_is_what_streams_are_made_with() -> None:
    said = DOCUMENT["channels"]["usage"]["x-jetstream"]

    assert said["stream"] == streams.USAGE
    assert said["maxAgeSeconds"] == 7 * streams.DAY_S
    assert said["maxBytes"] == streams.Sizes().usage_bytes
    assert said["discard"] == "new"
    assert said["duplicateWindowSeconds"] == 600


def test_every_field_of_a_contract_is_in_its_schema() -> None:
    schemas = DOCUMENT["components"]["schemas"]

    contracts = (usage.UsageRecorded, usage.Usage, usage.Quantities, budgets.BudgetReached)
    for contract in (*contracts, jobs.JobFinished):
        fields = {*contract.__struct_fields__, contract.__struct_config__.tag_field} - {None}
        assert schemas[contract.__name__]["properties"].keys() == fields
    assert schemas["Quantities"]["properties"]["requests"]["default"] == 1
    assert schemas["Usage"]["properties"]["status"]["description"] == "as the caller saw it"
    assert schemas["UsageRecorded"]["properties"]["time"]["format"] == "date-time"
