"""What a text is about, in its own words."""

from typing import Final

from events.tasks.task import Task, TaskInput, TaskResult, Text, read_texts

MOST: Final = 10  # keywords and keyphrases of one text


class KeyphrasesInput(TaskInput, frozen=True):
    """A text in English."""

    text: Text


class KeyphrasesResult(TaskResult, frozen=True):
    """Up to ten words and phrases of the text, those that say most first."""

    keywords_and_keyphrases: list[str]


TASK: Final = Task(
    "kw-kp-extraction",
    takes=KeyphrasesInput,
    gives=KeyphrasesResult,
    example=KeyphrasesInput(
        text="Honey bees live in colonies with a single queen. The workers collect nectar and "
        "pollen, and build combs from wax."
    ),
    most=lambda value: read_texts([value.text]),
)
