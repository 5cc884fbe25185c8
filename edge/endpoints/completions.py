"""Completions, for OpenAI's clients."""

from edge.endpoint import API, Application, spoken
from edge.openai.completions import DIALECT

endpoint = spoken(
    DIALECT,
    "/v1/completions",
    description="Goes on from texts, or from tokens, as OpenAI's clients ask for it: at once, "
    "or as chunks with `stream`. The model's task is `completion`.",
    perspective=Application,
    services={API},
)
