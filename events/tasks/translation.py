"""A text in another language."""

from typing import Annotated, Final

from msgspec import Meta

from events.models import Language
from events.tasks.task import Task, TaskInput, TaskResult, Text, read_texts


class TranslationInput(TaskInput, frozen=True, kw_only=True):
    """A text, and the language that it is wanted in."""

    text: Text
    source: Annotated[
        Language | None, Meta(description="The text's language, as `fr`; told from the text.")
    ] = None
    target: Annotated[Language, Meta(description="The language that it is wanted in, as `en`.")]

    def __post_init__(self) -> None:
        """Refuse what asks for nothing.

        Raises:
            ValueError: it is to be translated into the language that it is in.
        """
        if self.source == self.target:
            raise ValueError(f"`target` is {self.target!r}, which the text is in already")


class TranslationResult(TaskResult, frozen=True):
    """The same in the other language."""

    translation_text: str


TASK: Final = Task(
    "translation",
    takes=TranslationInput,
    gives=TranslationResult,
    example=TranslationInput(
        text="El puente fue cerrado porque los ingenieros encontraron grietas.",
        source="es",
        target="en",
    ),
    # as translations are sold: by the text that is read, however long it becomes
    most=lambda value: read_texts([value.text]),
)
