"""How the words of a text depend on each other."""

from edge.endpoint import API, Application, inference
from events.tasks import dependencies

endpoint = inference(
    task=dependencies.TASK,
    description="Says what part of speech each word is, which word it depends on, and how.",
    perspective=Application,
    services={API},
)
