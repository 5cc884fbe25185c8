"""Which of the caller's labels fit a text."""

from edge.endpoint import API, Application, inference
from events.tasks import classification

endpoint = inference(
    task=classification.TASK,
    description="Scores labels of your own for a text: topics, intents, whatever words can say.",
    perspective=Application,
    services={API},
)
