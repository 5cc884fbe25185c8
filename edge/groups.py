"""The parts that the API falls into, as a reader looks for things."""

from collections.abc import Mapping
from typing import Final

from edge.endpoint import Endpoint, Perspective

INFERENCE: Final = "Inference"
OPENAI: Final = "For OpenAI's clients"
OTHER: Final = "Others"
_PERSPECTIVES: Final[Mapping[Perspective, str]] = {
    Perspective.ADMIN: "Administration",
    Perspective.INFRASTRUCTURE: "Infrastructure",
}
_PATHS: Final[Mapping[str, str]] = {
    "/v1/models": "Models",
    "/v1/jobs": "Asynchronous requests",
    "/v1/usage": "Usage and receipts",
    "/v1/receipts": "Usage and receipts",
    "/v1/limits": "Limits and budgets",
    "/v1/balance": "Limits and budgets",
    "/v1/budget": "Limits and budgets",
    "/v1/billing": "Billing",
    "/webhooks": "Webhooks",
    "/docs": "Documentation",
    "/openapi.json": "Documentation",
}
#: All of them, in the order of the index.
GROUPS: Final = (
    INFERENCE,
    OPENAI,
    *dict.fromkeys(group for group in _PATHS.values() if group != "Documentation"),
    OTHER,
    *_PERSPECTIVES.values(),
    "Documentation",
)


def group_of(endpoint: Endpoint) -> str:
    """The part that an endpoint belongs to, by what it asks for, for whom, and where it is."""
    if endpoint.task is not None:
        return INFERENCE
    if endpoint.dialect is not None:
        return OPENAI
    if group := _PERSPECTIVES.get(endpoint.perspective):
        return group
    for prefix, group in _PATHS.items():
        if endpoint.path == prefix or endpoint.path.startswith(prefix + "/"):
            return group
    return OTHER
