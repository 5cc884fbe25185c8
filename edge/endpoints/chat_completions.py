"""Chat, for OpenAI's clients."""

from edge.endpoint import API, Application, spoken
from edge.openai.chat import DIALECT

endpoint = spoken(
    DIALECT,
    "/v1/chat/completions",
    description="Goes on with a conversation, as OpenAI's clients ask for it: at once, or as "
    "chunks with `stream`. The model's task is `chat`.",
    perspective=Application,
    services={API},
)
