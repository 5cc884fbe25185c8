"""An answer that a text holds."""

from edge.endpoint import API, Application, inference
from events.tasks import question

endpoint = inference(
    task=question.TASK,
    description="Finds the words of a text that answer a question, with their position.",
    perspective=Application,
    services={API},
)
