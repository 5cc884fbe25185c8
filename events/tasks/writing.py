"""What the tasks have in common whose answers a language model writes."""

from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from events.tasks.task import read_texts
from events.usage import Quantities

TOKEN_CHARACTERS: Final = 64  # in one token, at most: a worker sees to it that this holds
FRAME_TOKENS: Final = 256  # of a model's instructions around the texts, at most: likewise
TURN_TOKENS: Final = 8  # around each text, at most: likewise


def most_written(texts: Sequence[str], *, new_tokens: int, instructed: bool = False) -> Quantities:
    """The most that reading texts and writing an answer can use, before a tokenizer has seen them.

    Args:
        texts: As the caller sent them.
        new_tokens: Of the answer, at most.
        instructed: Whether the model reads instructions besides. They are input tokens,
            since the model reads them; words and characters are the caller's alone.
    """
    read = read_texts(texts)
    frames = FRAME_TOKENS + TURN_TOKENS * len(texts) if instructed else 0
    return replace(
        read,
        input_tokens=read.input_tokens + frames,
        output_tokens=new_tokens,
        output_words=new_tokens,  # no tokenizer puts two words into a token
        output_characters=new_tokens * TOKEN_CHARACTERS,
    )
