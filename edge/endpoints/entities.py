"""Named entities in a text."""

from edge.endpoint import API, Application, inference
from events.tasks import entities

endpoint = inference(
    task=entities.TASK,
    description="Finds people, places, organisations and more, with their positions.",
    perspective=Application,
    services={API},
)
