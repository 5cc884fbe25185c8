"""The next message of a conversation."""

from edge.endpoint import API, Application, inference
from events.tasks import chat

endpoint = inference(
    task=chat.TASK,
    description="Goes on with a conversation: at once, or piece by piece with `stream`. "
    "`POST /v1/chat/completions` is the same for OpenAI's clients.",
    perspective=Application,
    services={API},
)
