"""Embeddings, for OpenAI's clients."""

from edge.endpoint import API, Application, spoken
from edge.openai.embeddings import DIALECT

endpoint = spoken(
    DIALECT,
    "/v1/embeddings",
    description="Vectors of texts, or of tokens, as OpenAI's clients ask for them. The model's "
    "task is `embeddings`.",
    perspective=Application,
    services={API},
)
