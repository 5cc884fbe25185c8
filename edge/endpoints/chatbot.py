"""The next answer of a conversation."""

from edge.endpoint import API, Application, inference
from events.tasks import chatbot

endpoint = inference(
    task=chatbot.TASK,
    description="Answers in a conversation: at once, or piece by piece with `stream`. Send the "
    "answer's `history` with what is said next.",
    perspective=Application,
    services={API},
)
