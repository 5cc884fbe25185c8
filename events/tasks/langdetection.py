"""Which language a text is in."""

from typing import Annotated, Final

from msgspec import Meta

from events.tasks.task import Task, TaskInput, TaskResult, Text, read_texts


class LangdetectionInput(TaskInput, frozen=True):
    """A text in some language, or in several."""

    text: Text


class LangdetectionResult(TaskResult, frozen=True):
    """Languages and how likely each is, the likeliest first."""

    languages: Annotated[
        list[dict[str, float]],
        Meta(description='One pair each, as `{"en": 0.99}`: an ISO 639 code, from 0 to 1.'),
    ]


TASK: Final = Task(
    "langdetection",
    takes=LangdetectionInput,
    gives=LangdetectionResult,
    example=LangdetectionInput(text="Le portier a fermé la grille."),
    most=lambda value: read_texts([value.text]),
)
