"""Translation by encoder-decoder models in transformers' form: NLLB, M2M100 and their like."""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from msgspec import Struct
from tokenizers import Tokenizer

from events.models import ModelDeclared
from events.tasks.task import read_texts
from events.tasks.translation import TranslationInput, TranslationResult
from inference.errors import InputRefused, ModelUnfit
from inference.models import FOLDERS, check_vocabulary
from inference.models.device import copied, device_of, move, on_device
from inference.models.model import Answer, Prepared

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read on import; weights are local or absent

from transformers import AutoModelForSeq2SeqLM
from transformers.utils.logging import disable_progress_bar

#: What such models translate at a time, and what stands between two of them: they were taught
#: sentences, and of several they leave some out. No run of spaces is begun anew at each of them,
#: which would take the square of its length.
_BETWEEN: Final = re.compile(r"((?<=[.!?…])\s+|(?<!\s)\s*\n\s*|^\s+|(?<!\s)\s+$)")
LONGER: Final = 2  # times as many tokens as a sentence are the most that is written for it,
AT_LEAST: Final = 32  # and so many more


def load(where: str, declared: ModelDeclared) -> "Seq2Seq":
    """Load a model from a folder, with its tokenizer.json.

    Its declared `languages` are those that its vocabulary has a token for, as `fra_Latn`, or
    `fr` for `__fr__`.

    Raises:
        ModelUnfit: the folder lacks weights, the vocabulary a language, the model a token, or its
            device room.
        OSError: a file is missing.
    """
    folder = FOLDERS / where  # an absolute path stays what it is
    device = device_of(declared)
    disable_progress_bar()  # type: ignore[no-untyped-call]  # a log has no use for it
    loaded: Any = AutoModelForSeq2SeqLM.from_pretrained(
        folder,
        use_safetensors=True,
        output_loading_info=True,
        dtype=torch.float32 if device.type == "cpu" else torch.bfloat16,
        local_files_only=True,
        trust_remote_code=False,
    )
    model, info = loaded
    # layers that the file lacks are filled with random numbers, and nobody is told
    if info["missing_keys"]:
        missing = ", ".join(sorted(info["missing_keys"]))
        raise ModelUnfit(declared.name, f"weights are missing: {missing}")
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise FileNotFoundError(f"{file.name} is missing")
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    languages = {language: _token(tokenizer, language) for language in declared.languages}
    if unknown := [language for language, token in languages.items() if token is None]:
        raise ModelUnfit(declared.name, f"its vocabulary has no token for {', '.join(unknown)}")
    if len(languages) < 2:  # noqa: PLR2004 - one into the other
        raise ModelUnfit(declared.name, "its `languages` have to be declared, two or more")
    known = {name: token for name, token in languages.items() if token is not None}
    check_vocabulary(declared, tokenizer.get_vocab(), known=model.config.vocab_size)
    move(model, device, declared)
    return Seq2Seq(model, tokenizer, known)


def _token(tokenizer: Tokenizer, language: str) -> int | None:
    token: int | None = tokenizer.token_to_id(language)
    return tokenizer.token_to_id(f"__{language}__") if token is None else token


class _Read(Struct, frozen=True):
    """A text, taken apart: what stands at odd places is between two sentences, and stays."""

    text: str
    pieces: Sequence[str]
    tokens: Sequence[Sequence[int]]  # of the pieces at even places, framed; none for an empty one
    target: int


class Seq2Seq:
    """Translates sentence by sentence, each by itself and greedily.

    By itself, because products of different shapes round differently: no translation
    depends on who else is served, not by a bit.
    """

    tasks: Final = frozenset({"translation"})

    def __init__(
        self,
        model: Any,  # noqa: ANN401 - transformers gives its classes no common type
        tokenizer: Tokenizer,
        languages: Mapping[str, int],
    ) -> None:
        """Serve with a loaded model.

        Args:
            model: On its device.
            tokenizer: Adds no padding.
            languages: The token of each.
        """
        self._model = model
        self._tokenizer = tokenizer
        self._languages = languages
        self._end = int(model.config.eos_token_id)
        self._context = int(model.config.max_position_embeddings)

    def tokenize(
        self, _task: str, inputs: Sequence[TranslationInput]
    ) -> Sequence[Prepared | InputRefused]:
        """Take the texts apart, and see which way each goes."""
        return [self._prepare(value) for value in inputs]

    def _prepare(self, value: TranslationInput) -> Prepared | InputRefused:
        if value.source is None:
            message = "This model is told the language of a text; send it as `source`."
            return InputRefused("source_needed", message, param="source")
        for param, language in (("source", value.source), ("target", value.target)):
            if language not in self._languages:
                known = ", ".join(self._languages)
                message = f"This model translates between {known}, and not {language!r}."
                return InputRefused("unsupported_language", message, param=param)
        pieces = _BETWEEN.split(value.text)
        encoded = [
            self._tokenizer.encode(piece, add_special_tokens=False).ids for piece in pieces[::2]
        ]
        frame = self._languages[value.source]
        tokens = [[frame, *ids, self._end] if ids else [] for ids in encoded]
        width = max(map(len, tokens))
        if width > self._context:
            message = (
                f"A sentence of the text has {width} tokens, and this model reads "
                f"{self._context}; send shorter ones."
            )
            return InputRefused("input_too_long", message, param="text")
        read = _Read(value.text, pieces, tokens, self._languages[value.target])
        return Prepared(max(1, width), read, rows=len(tokens))

    def run(self, _task: str, prepared: Sequence[Prepared]) -> Sequence[Answer]:
        """Translate each text."""
        with on_device(), torch.inference_mode():
            return [self._translate(one.data) for one in prepared]

    def _translate(self, read: _Read) -> Answer:
        said = list(read.pieces)
        for place, tokens in enumerate(read.tokens):
            if tokens:
                said[2 * place] = self._sentence(tokens, read.target)
        # each sentence is framed, and a budget's hold has one frame for all of them
        held = read_texts([read.text]).input_tokens
        seen = min(sum(map(len, read.tokens)), held)
        return Answer(
            TranslationResult(translation_text="".join(said)),
            read_texts([read.text], input_tokens=seen),
        )

    def _sentence(self, tokens: Sequence[int], target: int) -> str:
        ids = copied([tokens], self._model.device)
        (written,) = self._model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            forced_bos_token_id=target,
            num_beams=1,
            do_sample=False,
            max_new_tokens=min(LONGER * len(tokens) + AT_LEAST, self._context - 1),
        )
        text: str = self._tokenizer.decode(written.tolist())
        return text.strip()
