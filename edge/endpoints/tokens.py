"""The tokens of a text, with their lemmas."""

from edge.endpoint import API, Application, inference
from events.tasks import tokens

endpoint = inference(
    task=tokens.TASK,
    description="Takes a text apart into words and marks, with their lemmas and positions.",
    perspective=Application,
    services={API},
)
