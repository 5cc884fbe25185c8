"""What a text is about, in its own words."""

from edge.endpoint import API, Application, inference
from events.tasks import kw_kp_extraction

endpoint = inference(
    task=kw_kp_extraction.TASK,
    description="Finds the words and phrases of a text that say best what it is about.",
    perspective=Application,
    services={API},
)
