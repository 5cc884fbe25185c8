"""Which language a text is in."""

from edge.endpoint import API, Application, inference
from events.tasks import langdetection

endpoint = inference(
    task=langdetection.TASK,
    description="Says which languages a text may be in, and how likely each is.",
    perspective=Application,
    services={API},
)
