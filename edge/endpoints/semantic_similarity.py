"""How close two texts are in meaning."""

from edge.endpoint import API, Application, inference
from events.tasks import semantic_similarity

endpoint = inference(
    task=semantic_similarity.TASK,
    description="Compares the meanings of two texts.",
    perspective=Application,
    services={API},
)
