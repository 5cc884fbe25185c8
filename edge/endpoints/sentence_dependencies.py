"""The sentences of a text, each with its dependencies."""

from edge.endpoint import API, Application, inference
from events.tasks import sentence_dependencies

endpoint = inference(
    task=sentence_dependencies.TASK,
    description="Cuts a text into sentences, and says of each how its words depend on each other.",
    perspective=Application,
    services={API},
)
