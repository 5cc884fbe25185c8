"""The same in other words."""

from edge.endpoint import API, Application, inference
from events.tasks import paraphrasing

endpoint = inference(
    task=paraphrasing.TASK,
    description="Says a text in other words.",
    perspective=Application,
    services={API},
)
