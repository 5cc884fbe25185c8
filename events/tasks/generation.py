"""Text that goes on from a text."""

from typing import Annotated, Final, Literal

from msgspec import UNSET, Meta, UnsetType

from events.tasks.task import StreamedInput, Task, TaskResult, Text
from events.tasks.writing import most_written
from events.usage import Quantities

MAX_TOKENS: Final = 8_192  # of one answer; a model may allow fewer
DEFAULT_TOKENS: Final = 256
MAX_SEQUENCES: Final = 8  # texts of one answer; a model may allow fewer
BETWEEN: Final = "\n--------------\n"  # texts of one answer: what clients of NLP Cloud split by

Sequence = Annotated[str, Meta(min_length=1, max_length=256)]


class GenerationInput(StreamedInput, frozen=True, kw_only=True):
    """A text to continue; null stands for a parameter's default."""

    text: Text
    max_length: Annotated[
        Annotated[int, Meta(ge=1, le=MAX_TOKENS)] | None,
        Meta(description="Tokens, those of `text` included unless `length_no_input`; 256."),
    ] = None
    length_no_input: Annotated[
        bool | None, Meta(description="Whether `max_length` is of what is generated alone; true.")
    ] = None
    end_sequence: Annotated[
        Sequence | None, Meta(description="Stop as soon as this was generated.")
    ] = None
    remove_input: Annotated[
        bool | None, Meta(description="Leave `text` out of the result; false.")
    ] = None
    remove_end_sequence: Annotated[
        bool | None, Meta(description="Leave `end_sequence` out of the result; false.")
    ] = None
    num_return_sequences: Annotated[
        Annotated[int, Meta(ge=1, le=MAX_SEQUENCES)] | None,
        Meta(description="Texts that go on from this one, each by chance of its own; 1."),
    ] = None
    num_beams: Annotated[int, Meta(ge=1, le=8)] | None = None
    top_k: Annotated[
        Annotated[int, Meta(ge=0, le=1_000)] | None,
        Meta(description="Choose from so many tokens; 0 for all of them; 50."),
    ] = None
    top_p: Annotated[
        Annotated[float, Meta(gt=0, le=1)] | None,
        Meta(description="Choose from the likeliest that add up to this; 1.0."),
    ] = None
    temperature: Annotated[
        Annotated[float, Meta(ge=0, le=5)] | None,
        Meta(description="0 takes the likeliest token every time; 0.8."),
    ] = None
    repetition_penalty: Annotated[float, Meta(ge=0.1, le=10)] | None = None
    seed: Annotated[
        Annotated[int, Meta(ge=0, le=2**63 - 1)] | None,
        Meta(description="The same seed and input give the same text; a random one."),
    ] = None
    bad_words: Annotated[
        Annotated[list[Sequence], Meta(max_length=100)] | None,
        Meta(description="Never generate any of these."),
    ] = None

    @property
    def new_tokens(self) -> int:
        """The most that may be generated of one text, whatever the input's length."""
        return self.max_length or DEFAULT_TOKENS

    @property
    def sequences(self) -> int:
        """How many texts are wanted."""
        return self.num_return_sequences or 1


class GenerationResult(TaskResult, frozen=True):
    """The text, and what it took."""

    generated_text: Annotated[
        str, Meta(description="Of several texts all, with a line of 14 dashes between two.")
    ]
    nb_generated_tokens: Annotated[int, Meta(description="Of all texts.")]
    nb_input_tokens: int
    generated_texts: Annotated[
        list[str] | UnsetType, Meta(description="One by one, where there are several.")
    ] = UNSET


class GenerationPiece(TaskResult, frozen=True):
    """What came next; the pieces' texts one after the other are the generated text."""

    text: str
    index: Annotated[
        int | UnsetType, Meta(description="Which text it belongs to, where there are several.")
    ] = UNSET
    reason: Annotated[
        Literal["stop", "length"] | UnsetType,
        Meta(description="Why that text ends with this piece, where there are several."),
    ] = UNSET


def most(value: GenerationInput) -> Quantities:
    """The most that it can use, before a tokenizer has seen it."""
    return most_written([value.text], new_tokens=value.new_tokens * value.sequences)


TASK: Final = Task(
    "generation",
    takes=GenerationInput,
    gives=GenerationResult,
    example=GenerationInput(text="The three primary colours are", max_length=24),
    most=most,
    piece=GenerationPiece,
)
