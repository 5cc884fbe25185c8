"""What the tasks that are in OpenAI's terms ask of the model."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from tokenizers import Tokenizer

from events.tasks.completion import CompletionInput, CompletionResult
from events.tasks.task import TaskResult, read_spelled
from events.tasks.writing import WritingInput, Written
from events.usage import Quantities
from inference.errors import InputRefused
from inference.models.causal_lm.request import Finished, Request
from inference.models.causal_lm.sampler import Choice, Sampler, spread

Result = TypeVar("Result", bound=TaskResult)


def writing_request(
    value: WritingInput,
    tokens: Sequence[int],
    *,
    new_tokens: int,
    read: Quantities,
    result: Callable[[list[Written]], TaskResult],
    numbered_from: int | None = None,
) -> Request:
    """What an input of such a task asks, of one prompt.

    Args:
        value: As the caller sent it.
        tokens: That the model reads.
        new_tokens: That may be generated of each text.
        read: What reading is billed by.
        result: What is made of the texts.
        numbered_from: The number of its first text, where a stream has to tell texts apart.
    """
    choice = Choice(
        temperature=1.0 if value.temperature is None else value.temperature,
        top_k=0,
        top_p=1.0 if value.top_p is None else value.top_p,
        repetition_penalty=1.0,
        seed=value.seed,
    )
    return Request(
        tokens=tokens,
        new_tokens=new_tokens,
        read=read,
        choosers=[partial(Sampler, one, ()) for one in spread(choice, value.sequences)],
        result=lambda finished: result([_written(one) for one in finished]),
        numbered_from=numbered_from,
        ends=value.stop or (),
        keep_end=False,
    )


def completion_requests(
    value: CompletionInput, tokenizer: Tokenizer, *, context: int, slots: int
) -> list[Request]:
    """What an input of `completion` asks: a request for each prompt.

    Raises:
        InputRefused: a prompt is too long, or has a token that there is not; or they are too
            many.
    """
    require_slots(value.sequences * len(value.prompts), slots=slots, param="prompts")
    several = value.sequences * len(value.prompts) > 1
    requests = []
    for number, prompt in enumerate(value.prompts):
        tokens, text = _read(prompt, tokenizer)
        require_room(len(tokens), value.new_tokens, context=context, param="prompts")
        requests.append(
            writing_request(
                value,
                tokens,
                new_tokens=value.new_tokens,
                read=read_spelled([prompt], [text], input_tokens=len(tokens)),
                result=lambda texts: CompletionResult(texts=texts),
                numbered_from=number * value.sequences if several else None,
            )
        )
    return requests


def require_slots(texts: int, *, slots: int, param: str) -> None:
    """Check that so many texts can be written side by side.

    Raises:
        InputRefused: they cannot.
    """
    if texts > slots:
        message = f"This model writes {slots} texts side by side; ask for so many at most."
        raise InputRefused("too_many_texts", message, param=param)


def require_room(read: int, new: int, *, context: int, param: str) -> None:
    """Check that a prompt and what is to be written fit into what the model can look at.

    Raises:
        InputRefused: they do not.
    """
    if read + new > context:
        raise InputRefused(
            "input_too_long",
            f"This takes {read} tokens, and {new} for the answer, of {context} that this model can "
            "look at in all; shorten it, or ask for fewer.",
            param=param,
        )


def _read(prompt: str | list[int], tokenizer: Tokenizer) -> tuple[list[int], str]:
    """A prompt as tokens and as text: words and characters are billed whichever is sent."""
    if not isinstance(prompt, str):
        vocabulary = tokenizer.get_vocab_size()
        if max(prompt) >= vocabulary:
            message = f"Token {max(prompt)} is none of this model's, which has {vocabulary:,}."
            raise InputRefused("unknown_token", message, param="prompts")
        return prompt, tokenizer.decode(prompt, skip_special_tokens=False)
    tokens: list[int] = tokenizer.encode(prompt).ids
    if not tokens:
        message = "This model knows none of a prompt's characters."
        raise InputRefused("input_unreadable", message, param="prompts")
    return tokens, prompt


def _written(finished: Finished) -> Written:
    return Written(text=finished.text, reason=finished.reason)
