"""Named entities in a text."""

from typing import Annotated, Final

from msgspec import Meta, Struct

from events.tasks.task import Task, TaskInput, TaskResult, Text, read_texts


class EntitiesInput(TaskInput, frozen=True):
    """A text to search."""

    text: Text
    searched_entity: Annotated[
        Annotated[str, Meta(max_length=64)] | None,
        Meta(description="Only entities of this type, as `PERSON`; all if null."),
    ] = None


class Entity(Struct, frozen=True, forbid_unknown_fields=True):
    """One mention: characters ``[start, end)`` of the text."""

    start: Annotated[int, Meta(ge=0)]
    end: Annotated[int, Meta(ge=0)]
    type: str
    text: str


class EntitiesResult(TaskResult, frozen=True):
    """The mentions, in the order of the text."""

    entities: list[Entity]


TASK: Final = Task(
    "entities",
    takes=EntitiesInput,
    gives=EntitiesResult,
    example=EntitiesInput(text="Ada Lovelace met Charles Babbage in London."),
    most=lambda value: read_texts([value.text]),
)
