"""Texts that go on from texts."""

from edge.endpoint import API, Application, inference
from events.tasks import completion

endpoint = inference(
    task=completion.TASK,
    description="Goes on from each of several texts: at once, or piece by piece with `stream`. "
    "`POST /v1/completions` is the same for OpenAI's clients.",
    perspective=Application,
    services={API},
)
