"""The text, given back."""

from edge.endpoint import API, Application, inference
from events.tasks import echo

endpoint = inference(
    task=echo.TASK,
    description="Gives the text back, metered like any answer: for trying the road itself.",
    perspective=Application,
    services={API},
)
