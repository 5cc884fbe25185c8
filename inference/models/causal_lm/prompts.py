"""What a model is told to do with a caller's texts: every instruction that we give is here."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from msgspec.structs import replace
from tokenizers import Tokenizer

from events.tasks import chat, chatbot
from events.tasks.chat import ChatInput, ChatResult
from events.tasks.chatbot import ChatbotInput, ChatbotResult, Exchange
from events.tasks.paraphrasing import MAX_TOKENS as PARAPHRASE_TOKENS
from events.tasks.paraphrasing import ParaphrasingInput, ParaphrasingResult
from events.tasks.question import MAX_TOKENS as ANSWER_TOKENS
from events.tasks.question import QuestionInput, QuestionResult
from events.tasks.summarization import SummarizationInput, SummarizationResult
from events.tasks.task import TaskResult, read_texts
from inference.errors import InputRefused
from inference.models.causal_lm.request import Finished, Request
from inference.models.causal_lm.sampler import Choice, Sampler
from inference.models.causal_lm.spans import Passage, SpanChooser
from inference.models.causal_lm.vocabulary import Vocabulary
from inference.models.causal_lm.writing import require_room, require_slots, writing_request

ASSISTANT: Final = "You are a helpful AI assistant."
SUMMARIZE: Final = {  # nearly the words that SmolLM2 was taught with
    size: "Provide a concise, objective summary of the input text in "
    f"{sentences}, focusing on key actions and intentions without using second or third "
    "person pronouns."
    for size, sentences in (("small", "one sentence"), ("large", "up to three sentences"))
}
PARAPHRASE: Final = "Paraphrase this sentence, saying the same in different words: "
# a text, questions and answers as they are wanted: small models learn more from that than
# from being told
ASK: Final = """\
Text: Tom Miller, a baker from Leeds, bought a red bicycle from his neighbour in 1994.
Question: Who bought the bicycle?
Answer: Tom Miller
Question: Where is Tom from?
Answer: Leeds
Question: From whom did he buy it?
Answer: his neighbour

Text: The lake is 12 kilometres long and was formed by a glacier. Trout and pike live in it.
Question: How long is the lake?
Answer: 12 kilometres
Question: What formed it?
Answer: a glacier
Question: Which fish live in the lake?
Answer: Trout and pike

Text: {context}
Question: {question}
Answer:"""
_ANSWER_ENDS: Final = "\n.!?;"

GREEDY: Final = Choice(temperature=0, top_k=0, top_p=1, repetition_penalty=1, seed=None)
_GREEDY: Final = partial(Sampler, GREEDY, ())
_MORE: Final = 32  # tokens: a paraphrase of few words may need some more
_ABSENT: Final = -1
_START, _END = "<|im_start|>", "<|im_end|>"
_SENTENCE_END: Final = re.compile(r"[.!?][^\w\s]*(?=\s|$)")

Turn = tuple[str, str]  # whose, and what was said


class Prompts:
    """The tasks of a model that was taught to follow instructions, in ChatML.

    What a caller writes is never an order: control tokens are read as the characters
    that they are written with. Nothing is left to chance, so the same input gives the
    same answer.
    """

    def __init__(
        self, tokenizer: Tokenizer, vocabulary: Vocabulary, *, context: int, slots: int
    ) -> None:
        """Set up.

        Args:
            tokenizer: The model's.
            vocabulary: Likewise.
            context: Tokens that it can look at.
            slots: Texts that it writes side by side.
        """
        self._start, self._end = _id(tokenizer, _START), _id(tokenizer, _END)
        self._tokenizer = Tokenizer.from_str(tokenizer.to_str())
        self._tokenizer.encode_special_tokens = True
        self._answer_ends = [*vocabulary.beginning(_ANSWER_ENDS), self._end]
        self._context = context
        self._slots = slots
        self._by_task: Mapping[str, Callable[[Any], Request]] = {
            "chat": self._chat,
            "chatbot": self._chatbot,
            "summarization": self._summarization,
            "paraphrasing": self._paraphrasing,
            "question": self._question,
        }

    @property
    def tasks(self) -> frozenset[str]:
        """Those that this model was taught the form of: none, if it was not."""
        taught = _ABSENT not in (self._start, self._end)
        return frozenset(self._by_task) if taught else frozenset()

    def read(self, task: str, value: Any) -> Request:  # noqa: ANN401 - an input of that task
        """What an input asks of the model.

        Raises:
            InputRefused: it is too long, or there is nothing in it.
        """
        return self._by_task[task](value)

    def _chat(self, value: ChatInput) -> Request:
        require_slots(value.sequences, slots=self._slots, param="n")
        turns = [
            ("system" if one.role == "developer" else one.role, one.content)
            for one in value.messages
        ]
        if turns[0][0] != "system":  # as the model's own template has it
            turns = [("system", ASSISTANT), *turns]
        tokens = self._told(*turns)
        left = max(1, self._context - len(tokens))
        new_tokens = value.max_tokens or min(chat.DEFAULT_TOKENS, left)
        require_room(len(tokens), new_tokens, context=self._context, param="messages")
        request = writing_request(
            value,
            tokens,
            new_tokens=new_tokens,
            read=read_texts(value.texts, input_tokens=len(tokens)),
            result=lambda answers: ChatResult(answers=answers),
            numbered_from=0 if value.sequences > 1 else None,
        )
        return replace(request, strip=True)

    def _chatbot(self, value: ChatbotInput) -> Request:
        turns = [("system", value.context or ASSISTANT)]
        for past in value.history or ():
            turns += [("user", past.input), ("assistant", past.response)]
        return self._request(
            self._told(*turns, ("user", value.input)),
            chatbot.texts(value),
            new_tokens=chatbot.MAX_TOKENS,
            result=partial(_chatbot_result, value),
            param=_longest(value),
        )

    def _summarization(self, value: SummarizationInput) -> Request:
        return self._request(
            self._told(("system", SUMMARIZE[value.size or "small"]), ("user", value.text)),
            [value.text],
            new_tokens=value.new_tokens,
            result=lambda done: SummarizationResult(summary_text=_whole_sentences(done.text)),
        )

    def _paraphrasing(self, value: ParaphrasingInput) -> Request:
        tokens = len(self._encode(value.text))
        if tokens > PARAPHRASE_TOKENS // 2:
            raise InputRefused(
                "input_too_long",
                f"The text has {tokens} tokens, and {PARAPHRASE_TOKENS // 2} can be paraphrased at "
                "a time; send it in several parts.",
                param="text",
            )
        return self._request(
            self._told(("system", ASSISTANT), ("user", PARAPHRASE + value.text)),
            [value.text],
            new_tokens=min(PARAPHRASE_TOKENS, 2 * tokens + _MORE),
            result=lambda done: ParaphrasingResult(paraphrased_text=done.text),
        )

    def _question(self, value: QuestionInput) -> Request:
        context, question = (" ".join(text.split()) for text in (value.context, value.question))
        request = self._request(
            self._encode(ASK.format(context=context, question=question)),
            [value.context, value.question],
            new_tokens=ANSWER_TOKENS,
            result=partial(_question_result, value),
            param="question" if len(question) > len(context) else "context",
        )
        passage = Passage(value.context, value.question, self._tokenizer)
        if not passage.starts:
            raise InputRefused(
                "input_unreadable", "There is no word in the context.", param="context"
            )
        return replace(request, choosers=[partial(SpanChooser, passage, self._answer_ends)])

    def _request(
        self,
        tokens: Sequence[int],
        texts: Sequence[str],
        *,
        new_tokens: int,
        result: Callable[[Finished], TaskResult],
        param: str = "text",
    ) -> Request:
        if len(tokens) + new_tokens > self._context:
            raise InputRefused(
                "input_too_long",
                f"This takes {len(tokens)} tokens with the model's instructions, and up to "
                f"{new_tokens} for the answer, of {self._context} that this model can look at in "
                f"all; shorten the {param}.",
                param=param,
            )
        return Request(
            tokens=tokens,
            new_tokens=new_tokens,
            read=read_texts(texts, input_tokens=len(tokens)),
            choosers=[_GREEDY],
            result=lambda finished: result(finished[0]),
            strip=True,
        )

    def _told(self, *turns: Turn) -> list[int]:
        """A conversation in which the assistant is next."""
        tokens = []
        for whose, said in turns:
            tokens += [self._start, *self._encode(f"{whose}\n{said}"), self._end]
            tokens += self._encode("\n")
        return [*tokens, self._start, *self._encode("assistant\n")]

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text).ids
        return ids


def _id(tokenizer: Tokenizer, token: str) -> int:
    found = tokenizer.token_to_id(token)
    return _ABSENT if found is None else found


def _longest(value: ChatbotInput) -> str:
    """What a caller should shorten."""
    context, *history, said = map(len, chatbot.texts(value))
    sizes = {"input": said, "context": context, "history": sum(history)}
    return max(sizes, key=lambda name: sizes[name])


def _chatbot_result(value: ChatbotInput, done: Finished) -> ChatbotResult:
    exchange = Exchange(input=value.input, response=done.text)
    return ChatbotResult(response=done.text, history=[*(value.history or ()), exchange])


def _question_result(value: QuestionInput, done: Finished) -> QuestionResult:
    chooser = done.chooser
    assert isinstance(chooser, SpanChooser)
    start, end = chooser.span.start, chooser.span.end
    return QuestionResult(
        answer=value.context[start:end], score=chooser.score, start=start, end=end
    )


def _whole_sentences(text: str) -> str:
    """The text up to the end of its last whole sentence, if it has one."""
    ends = [found.end() for found in _SENTENCE_END.finditer(text)]
    return text[: ends[-1]] if ends else text
