"""A text in another language."""

from edge.endpoint import API, Application, inference
from events.tasks import translation

endpoint = inference(
    task=translation.TASK,
    description="Says in another language what a text says.",
    perspective=Application,
    services={API},
)
