"""How the writer of a text feels."""

from edge.endpoint import API, Application, inference
from events.tasks import sentiment

endpoint = inference(
    task=sentiment.TASK,
    description="Says whether a text is positive or negative.",
    perspective=Application,
    services={API},
)
