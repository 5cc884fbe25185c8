"""The events that are meant for others, as an AsyncAPI 3.0 document.

Everything in it is read from what the processes themselves run by: the contracts and the
comments beside their fields, the subjects, and the streams' configuration.

Source: https://www.asyncapi.com/docs/reference/specification/v3.0.0
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, get_type_hints
from uuid import UUID

import msgspec
from msgspec import Struct
from nats.js.api import DiscardPolicy

from events import budgets, streams, usage
from events.budgets import BudgetReached
from events.comments import comments, docstring
from events.jobs import JobFinished
from events.usage import Numbered, Quantities, Usage, UsageRecorded, UsageVoided

_ABOUT: Final = """\
What Tollgate states about its work, for services that want to hear of it.

Delivery is at least once: each event is on disk before the answer that it is about leaves, and is \
handed to a durable consumer until that acknowledges it. A stream keeps the order in which it was \
told; nothing orders two streams, nor two edges, and a void may precede what it takes back.

Subjects carry the version of what is published there. A new field takes a default and changes \
nothing else; any other change is published under a new subject, beside the old one."""
_ENCODED: Final = (
    "encoded into one token: letters, digits, `-`, `_` and `~` stay, every other byte of its UTF-8 "
    "is `%XX`"
)
_DEDUPLICATION: Final = (
    "The deduplication key, the same as `id`. The broker drops repeats for "
    "`duplicateWindowSeconds`; whoever adds up must know it for longer."
)
_USAGE: Final = (
    "One event for each answer, or for each part of a long stream: the quantities of all parts "
    "add up, and only part 0 counts as a request. `source` is one start of one edge, `sequence` "
    "its own count without gaps from 1."
)


def document() -> dict[str, Any]:
    """The document, as JSON will have it."""
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Tollgate's events", "version": "1", "description": _ABOUT},
        "defaultContentType": "application/json",
        "servers": {
            "broker": {
                "host": "127.0.0.1:4222",
                "protocol": "nats",
                "description": "NATS with JetStream; where it is, and under which user a service "
                "may read, the operator says.",
                "security": [{"$ref": "#/components/securitySchemes/user"}],
            }
        },
        "channels": {
            "usage": _usage_channel(),
            "budgets": _budgets_channel(),
            "completions": _completions_channel(),
        },
        "operations": {
            "stateUsage": _send("usage", "An edge states what an answer used."),
            "stateBudget": _send("budgets", "The ledger states that a budget is nearly spent."),
            "stateCompletion": _send("completions", "An edge states that a job is finished."),
        },
        "components": {
            "messages": {
                "UsageRecorded": _message(
                    UsageRecorded, _EXAMPLE, "application/cloudevents+json", "data/request_id"
                ),
                "UsageVoided": _message(
                    UsageVoided, _EXAMPLE_VOID, "application/cloudevents+json", "data/request_id"
                ),
                "BudgetReached": _message(BudgetReached, _EXAMPLE_BUDGET, "application/json"),
                "JobFinished": _message(JobFinished, _EXAMPLE_JOB, "application/json"),
            },
            "schemas": _schemas([UsageRecorded, UsageVoided, BudgetReached, JobFinished]),
            "securitySchemes": {"user": {"type": "userPassword"}},
        },
    }


# --- channels -----------------------------------------------------------------------


def _usage_channel() -> dict[str, Any]:
    return {
        "address": "usage.v1.{account}.{model}.{task}",
        "title": "Usage",
        "description": _USAGE,
        "parameters": {
            "account": {"description": "The id of the account that is billed, a UUID."},
            "model": {"description": f"The model's name, {_ENCODED}.", "examples": ["echo"]},
            "task": {"description": f"The task's name, {_ENCODED}.", "examples": ["entities"]},
        },
        "messages": _references("UsageRecorded", "UsageVoided"),
        "x-jetstream": _stream(streams.USAGE),
    }


def _budgets_channel() -> dict[str, Any]:
    return {
        "address": "budgets.{account}",
        "title": "Budgets",
        "description": "80 % or all of a budget is spent: once for each budget, limit and window.",
        "parameters": {"account": {"description": "The account's id, a UUID."}},
        "messages": _references("BudgetReached"),
        "x-jetstream": _stream(streams.BUDGETS),
    }


def _completions_channel() -> dict[str, Any]:
    return {
        "address": "completions.{account}",
        "title": "Completions",
        "description": "A job is finished whose caller wants to be told: `job_id` tells repeats.",
        "parameters": {"account": {"description": "The account's id, a UUID."}},
        "messages": _references("JobFinished"),
        "x-jetstream": _stream(streams.COMPLETIONS),
    }


def _references(*messages: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/messages/{name}"} for name in messages}


def _send(channel: str, summary: str) -> dict[str, Any]:
    return {"action": "send", "channel": {"$ref": f"#/channels/{channel}"}, "summary": summary}


def _stream(name: str) -> dict[str, Any]:
    """What the stream promises where `tollgate migrate` was given no other size."""
    config = next(made for made in streams.configs(streams.Sizes()) if made.name == name)
    said = {
        "stream": name,
        "subjects": config.subjects,
        "maxAgeSeconds": int(config.max_age or 0),
        "maxBytes": config.max_bytes,
        "discard": DiscardPolicy(config.discard).value,
        "delivery": "at least once, in the order of the stream",
    }
    if config.duplicate_window:
        said["duplicateWindowSeconds"] = int(config.duplicate_window)
    return said


# --- messages -----------------------------------------------------------------------


def _message(
    contract: type[Struct], example: Struct, content_type: str, correlation: str = ""
) -> dict[str, Any]:
    message: dict[str, Any] = {
        "name": contract.__struct_config__.tag,
        "title": contract.__name__,
        "summary": docstring(contract).partition("\n")[0],
        "contentType": content_type,
        "payload": {"$ref": f"#/components/schemas/{contract.__name__}"},
        "examples": [{"payload": msgspec.to_builtins(example)}],
    }
    if correlation:
        message["headers"] = {
            "type": "object",
            "properties": {"Nats-Msg-Id": {"type": "string", "description": _DEDUPLICATION}},
        }
        message["correlationId"] = {
            "description": "The request that it is about; an answer carries it as X-Request-Id.",
            "location": f"$message.payload#/{correlation}",
        }
    return message


_EDGE: Final = UUID("01a1fc64-2d82-77a2-9aa5-0cb3e4470465")
_USED: Final = Usage(
    request_id=UUID("01a1fc64-353c-7001-b2bf-11eaf3f30074"),
    account_id=UUID("01a1fc64-2d82-77a2-9aa5-0cb439b0a0ac"),
    key_id="NNaqOCNn9l",
    model="en_core_web_sm",
    task="entities",
    duration_ms=36,
    quantities=Quantities(input_tokens=20, input_words=10, input_characters=100, device_ms=3),
)
_EXAMPLE: Final = usage.recorded(_USED, Numbered(epoch=_EDGE, sequence=40_437))
_EXAMPLE_VOID: Final = usage.voided(_USED, Numbered(epoch=_EDGE, sequence=40_438))
_EXAMPLE_BUDGET: Final = BudgetReached(
    account_id=_USED.account_id,
    budget="monthly_budget",
    percent=budgets.NEARLY,
    spent=10_000_000_000,
    limit=12_500_000_000,
    window_start=datetime(2026, 11, 1, tzinfo=UTC),
    timestamp=datetime(2026, 11, 21, 4, 36, 28, tzinfo=UTC),
)
_JOB: Final = UUID("01a1ff2f-7039-7eb0-b82f-db37f275210e")
_EXAMPLE_JOB: Final = JobFinished(
    job_id=_JOB,
    account_id=_USED.account_id,
    model=_USED.model,
    task=_USED.task,
    http_code=200,
    url=f"https://api.example.com/v1/jobs/{_JOB}",
    created_on=datetime(2026, 11, 21, 4, 36, 28, tzinfo=UTC),
    timestamp=datetime(2026, 11, 21, 4, 36, 29, tzinfo=UTC),
)


# --- schemas ------------------------------------------------------------------------


def _schemas(contracts: Sequence[type[Struct]]) -> dict[str, Any]:
    """JSON schemas of contracts and what they are made of, described as in the source."""
    _, schemas = msgspec.json.schema_components(
        contracts, ref_template="#/components/schemas/{name}"
    )
    every: list[type[Struct]] = [*contracts, Usage, Quantities]
    for contract in every:
        schema = schemas[contract.__name__]
        schema["description"] = docstring(contract)
        if not schema["required"]:
            del schema["required"]
        said, hints = comments(contract), get_type_hints(contract)
        for name, field in schema["properties"].items():
            if hints.get(name) is datetime:
                field["format"] = "date-time"
            if name in said:
                field["description"] = said[name]
    return schemas
