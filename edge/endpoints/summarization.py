"""A long text, shorter."""

from edge.endpoint import API, Application, inference
from events.tasks import summarization

endpoint = inference(
    task=summarization.TASK,
    description="Says in a few sentences what a text says in many.",
    perspective=Application,
    services={API},
)
