"""What the tasks have in common whose answers a language model writes."""

from collections.abc import Sequence
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from events.tasks.task import TOKEN_CHARACTERS, StreamedInput, most_read
from events.usage import Quantities

MAX_TOKENS: Final = 8_192  # of one text; a model may allow fewer
FRAME_TOKENS: Final = 256  # of a model's instructions around the texts, at most: likewise
TURN_TOKENS: Final = 8  # around each text, at most: likewise

# each also stands in the bodies of OpenAI's dialect
MaxTokens = Annotated[int, Meta(ge=1, le=MAX_TOKENS)]
StopText = Annotated[str, Meta(min_length=1, max_length=256)]
StopTexts = Annotated[list[StopText], Meta(max_length=4)]
Several = Annotated[int, Meta(ge=1, le=8)]
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Temperature = Annotated[float, Meta(ge=0, le=2)]
TopP = Annotated[float, Meta(gt=0, le=1)]


class WritingInput(StreamedInput, frozen=True, kw_only=True):
    """How texts are to be written; null stands for a parameter's default."""

    max_tokens: Annotated[MaxTokens | None, Meta(description="Of each text.")] = None
    stop: Annotated[
        StopTexts | None, Meta(description="A text ends before any of these; they are left out.")
    ] = None
    n: Annotated[Several | None, Meta(description="Texts, each by chance of its own; 1.")] = None
    seed: Annotated[
        Seed | None,
        Meta(description="The same seed and input give the same texts; a random one."),
    ] = None
    temperature: Annotated[
        Temperature | None, Meta(description="0 takes the likeliest token every time; 1.")
    ] = None
    top_p: Annotated[
        TopP | None, Meta(description="Choose from the likeliest that add up to this; 1.")
    ] = None

    @property
    def sequences(self) -> int:
        """How many texts are wanted of one input."""
        return self.n or 1


class Written(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One text, and why it ends: it is whole, or as long as it may be."""

    text: str
    reason: Literal["stop", "length"]


def most_written(
    texts: Sequence[str | Sequence[int]], *, new_tokens: int, instructed: bool = False
) -> Quantities:
    """The most that reading texts and writing an answer can use, before a tokenizer has seen them.

    Args:
        texts: As the caller sent them, or their tokens.
        new_tokens: Of the answer, at most.
        instructed: Whether the model reads instructions besides. They are input tokens,
            since the model reads them; words and characters are the caller's alone.
    """
    read = most_read(texts)
    frames = FRAME_TOKENS + TURN_TOKENS * len(texts) if instructed else 0
    return replace(
        read,
        input_tokens=read.input_tokens + frames,
        output_tokens=new_tokens,
        output_words=new_tokens,  # no tokenizer puts two words into a token
        output_characters=new_tokens * TOKEN_CHARACTERS,
    )
