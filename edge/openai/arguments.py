"""What the bodies of OpenAI's clients have in common."""

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Annotated, Any, Final

from msgspec import Meta, Struct

from edge.errors import InvalidInput, Unsupported
from events.tasks.task import MAX_CHARACTERS, Tokens, UnionText, require_words
from events.tasks.writing import MaxTokens, Seed, Several, StopText, StopTexts, Temperature, TopP

Refused = Annotated[Any, Meta(description="Not supported: null, or what stands for its absence.")]
#: A text, several, the ids of one's tokens, or those of several.
TextOrTokens = Annotated[
    UnionText | list[UnionText | int | Tokens],
    Meta(description="Ids are of the model's own tokens."),
]
Noted = Annotated[str | None, Meta(description="Taken; no answer depends on it.")]


class StreamOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a stream is to end."""

    include_usage: Annotated[
        bool | None, Meta(description="A last chunk, without choices, says what was used.")
    ] = None
    include_obfuscation: Refused = None


class Arguments(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every body; unknown arguments are refused by name."""

    model: Annotated[str, Meta(description="One of GET /v1/models.")]
    user: Noted = None


class WritingArguments(Arguments, frozen=True, kw_only=True):
    """How texts are to be written; null stands for an argument's default."""

    max_tokens: MaxTokens | None = None
    stop: StopText | StopTexts | None = None
    n: Several | None = None
    seed: Seed | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    frequency_penalty: Refused = None
    presence_penalty: Refused = None
    logit_bias: Refused = None

    def written(self) -> dict[str, Any]:
        """These, as the fields of a `WritingInput`."""
        return {
            "stop": [self.stop] if isinstance(self.stop, str) else self.stop or None,
            "n": self.n,
            "seed": self.seed,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "stream": bool(self.stream),
        }


class NotHonoured:
    """Arguments that no model here honours, and their values that ask for nothing.

    Args:
        harmless: These values, by the argument's name; null is always one.
    """

    def __init__(self, harmless: Mapping[str, Sequence[Any]]) -> None:
        self._harmless = harmless
        self._values = attrgetter(*harmless)
        self._absent = (None,) * len(harmless)

    def refuse(self, body: Struct, *, at: str = "") -> None:
        """See that nothing is asked for that would be ignored.

        Args:
            body: As it was read.
            at: Where in the whole it is.

        Raises:
            Unsupported: something is.
        """
        values = self._values(body)
        if values == self._absent:  # as it is in nearly all
            return
        for (name, harmless), value in zip(self._harmless.items(), values, strict=True):
            if value is not None and value not in harmless:
                message = f"no model here honours this `{name}`; leave it out"
                raise Unsupported(message, param=at + name)


WRITING: Final[Mapping[str, Sequence[Any]]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
}


def prompts_of(given: str | list[Any], param: str, *, at_most: int) -> list[Any]:
    """Texts, or lists of tokens, as a task takes them.

    Args:
        given: As it was read.
        param: What it is called.
        at_most: So many.

    Raises:
        InvalidInput: there is nothing in it, too much, or single tokens among texts.
    """
    if isinstance(given, str):
        given = [given]
    if not given:
        raise InvalidInput(f"`{param}` is empty; send some text", param=param)
    single = sum(isinstance(one, int) for one in given)
    if single and (single < len(given) or min(given) < 0):
        message = (
            f"`{param}` is one list of tokens, or of texts and lists of tokens; none is negative"
        )
        raise InvalidInput(message, param=param)
    prompts = [given] if single else given
    if len(prompts) > at_most or (single and single > MAX_CHARACTERS):
        raise InvalidInput(f"`{param}` is too long; send at most {at_most} at a time", param=param)
    try:
        require_words(prompts, param)
    except ValueError as error:
        raise InvalidInput(str(error), param=param) from error
    return prompts


def usage_wanted(body: WritingArguments) -> bool:
    """Whether a stream is to say what was used.

    Raises:
        Unsupported: there are options of a stream, and no stream.
    """
    options = body.stream_options
    if options is None:
        return False
    if not body.stream:
        message = "`stream_options` are of a stream; set `stream`, or leave them out"
        raise Unsupported(message, param="stream_options")
    if options.include_obfuscation:
        message = "nothing obfuscates streams here; leave `include_obfuscation` out"
        raise Unsupported(message, param="stream_options.include_obfuscation")
    return bool(options.include_usage)
