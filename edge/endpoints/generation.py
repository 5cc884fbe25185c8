"""Text that goes on from a text."""

from edge.endpoint import API, Application, inference
from events.tasks import generation

endpoint = inference(
    task=generation.TASK,
    description="Goes on from a text: at once, or piece by piece with `stream`.",
    perspective=Application,
    services={API},
)
