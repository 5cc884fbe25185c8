"""Texts as vectors."""

from edge.endpoint import API, Application, inference
from events.tasks import embeddings

endpoint = inference(
    task=embeddings.TASK,
    description="Turns sentences into vectors; similar meanings point in similar directions.",
    perspective=Application,
    services={API},
)
