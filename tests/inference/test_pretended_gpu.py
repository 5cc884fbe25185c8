"""Models on a GPU that is not there: they answer as on the CPU, and mistakes are found."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import pytest
import structlog
import torch
from msgspec import Struct
from msgspec.structs import replace
from torch.nn.attention.bias import CausalBias
from torch.nn.functional import scaled_dot_product_attention
from transformers.models.m2m_100 import modeling_m2m_100

from events.models import ModelDeclared, read_models
from events.tasks.embeddings import EmbeddingsInput
from events.tasks.generation import GenerationInput
from events.tasks.sentiment import SentimentInput
from events.tasks.translation import TranslationInput
from inference.models import causal_lm, load
from inference.models.causal_lm import attention, generator
from inference.models.causal_lm.attention import Writing
from inference.models.device import device_of, move
from inference.models.sentence_transformers import encoder
from inference.models.sentence_transformers.encoder import _mean
from tests.inference import pretended_gpu, tiny, tiny_seq2seq
from tests.inference.conftest import MODELS_FILE
from tests.inference.pretended_gpu import Unfit
from tests.inference.test_models import answers
from tests.waiting import PATIENCE_S

SHORT: Final = GenerationInput(text="on on on", temperature=0, max_length=4)
LONG: Final = GenerationInput(text="on " * 700, temperature=0, max_length=4)


class Ran(Struct):
    """What a model said on the GPU, and on the CPU with numbers of the same kind."""

    there: Any
    here: Any
    weights: set[str]  # of what kind, and where


class Folders(Struct):
    """Of tiny models."""

    causal_lm: Path
    seq2seq: Path


@pytest.fixture(scope="module")
def gpu() -> Iterator[Executor]:
    """A process that believes in one."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(pretended_gpu.pretend).result(PATIENCE_S)
        yield pool


@pytest.fixture(scope="module")
def folders(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Folders:
    seq2seq = tmp_path_factory.mktemp("seq2seq")
    tiny_seq2seq.make(seq2seq)
    return Folders(tiny_folder, seq2seq)


# What follows runs in that process.


def encode(_: Folders) -> Ran:
    def asked(model: Any) -> list[Any]:
        alone = EmbeddingsInput(sentences=["One."])
        padded = EmbeddingsInput(sentences=["One.", "Two or three words."])
        return [
            answers(model, "embeddings", [alone]),
            answers(model, "embeddings", [padded]),
            answers(model, "sentiment", [SentimentInput(text="So so.")]),
        ]

    return _ran(read_models(MODELS_FILE)["all-MiniLM-L6-v2"], asked)


def generate(folders: Folders, inputs: Sequence[GenerationInput] = (SHORT,)) -> Ran:
    def asked(model: Any) -> list[tuple[str, int, int]]:
        return [
            (one.text, one.quantities.input_tokens, one.quantities.output_tokens)
            for one in tiny.write(model, *inputs)
        ]

    return _ran(tiny.declare(folders.causal_lm), asked)


def read_in_two(folders: Folders) -> Ran:
    return generate(folders, [LONG])


def translate(folders: Folders) -> Ran:
    def translated(model: Any) -> list[Any]:
        text = "le\nle chat dort."
        asked = TranslationInput(text=text, source="en", target="fra_Latn")
        return answers(model, "translation", [asked])

    return _ran(tiny_seq2seq.declare(folders.seq2seq), translated)


def _ran(declared: ModelDeclared, asked: Callable[[Any], Any]) -> Ran:
    with pretended_gpu.within():
        model: Any = load(replace(declared, device="cuda"))
        there = asked(model)
    weights = {f"{one.dtype} on {one.device}" for one in model._model.parameters()}  # noqa: SLF001 - there is no other way to ask
    return Ran(there, asked(_here(declared)), weights)


def _here(declared: ModelDeclared) -> Any:
    """The same on the CPU, which would choose other numbers, or another order of them."""
    with patch.multiple(causal_lm, _dtype=lambda _: torch.bfloat16, pack=lambda _: None):
        model: Any = load(replace(declared, device="cpu"))
    if model._model.dtype != torch.bfloat16:  # noqa: SLF001 - likewise
        model._model.to(torch.bfloat16)  # noqa: SLF001 - likewise
    return model


def choose() -> tuple[str, list[Any], Any, bool]:
    torch.backends.cuda.enable_cudnn_sdp(True)  # noqa: FBT003 - as it is at first
    with (
        structlog.testing.capture_logs() as logs,
        patch.object(torch.cuda, "set_per_process_memory_fraction") as share,
    ):
        device = device_of(replace(read_models(MODELS_FILE)["echo"], device="auto"))
    return str(device), logs, share.call_args.args, torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call] # torch's


def spoil(mistake: str, folders: Folders) -> Ran:
    one = MISTAKES[mistake]
    with patch.object(one.where, one.name, one.instead):
        return one.run(folders)


def pretend_with_another_torch() -> None:
    with patch.object(pretended_gpu, "_REGISTER", "absent"):
        pretended_gpu.pretend()


# And what follows here.


def test_an_encoder_embeds_and_tells_moods(gpu: Executor, folders: Folders) -> None:
    check(gpu.submit(encode, folders).result(PATIENCE_S))


@pytest.mark.parametrize(
    "inputs",
    [
        pytest.param([SHORT], id="a short prompt"),
        pytest.param([LONG], id="one that is read in two pieces"),
        pytest.param([SHORT, LONG], id="two on two shelves"),
        pytest.param(
            [replace(SHORT, text="on " * 60, max_length=8, num_return_sequences=3)],
            id="three texts that outgrow a shelf",
        ),
        pytest.param(
            [
                GenerationInput(
                    text="Tell me",
                    seed=1,
                    max_length=8,
                    top_k=50,
                    top_p=0.9,
                    repetition_penalty=1.2,
                    bad_words=["x"],
                )
            ],
            id="by luck",
        ),
    ],
)
def test_a_causal_lm_writes(gpu: Executor, folders: Folders, inputs: list[GenerationInput]) -> None:
    check(gpu.submit(generate, folders, inputs).result(PATIENCE_S))


def test_an_encoder_decoder_model_translates(gpu: Executor, folders: Folders) -> None:
    check(gpu.submit(translate, folders).result(PATIENCE_S))


def check(ran: Ran) -> None:
    assert ran.there == ran.here
    assert ran.weights == {"torch.bfloat16 on cuda:0"}


def test_a_gpu_is_found_and_a_share_of_it_taken(gpu: Executor) -> None:
    device, logs, share, cudnn = gpu.submit(choose).result(PATIENCE_S)

    assert device == "cuda"
    assert [(one["event"], one["declared"], one["device"]) for one in logs] == [
        ("device_chosen", "auto", "cuda")
    ]
    assert share == (0.9, 0)
    assert not cudnn


class Mistake(Struct):
    """What is put in place of what, and who comes across it."""

    where: Any
    name: str
    instead: Callable[..., Any]
    run: Callable[[Folders], Ran]
    found: str


def _head_left(model: Any, device: torch.device, declared: ModelDeclared) -> None:
    move(model, device, declared)
    model.lm_head.to("cpu")


def _with_a_tensor(query: torch.Tensor, *args: Any, **named: Any) -> torch.Tensor:
    if isinstance(mask := named["attn_mask"], CausalBias):
        named["attn_mask"] = mask._materialize(query.device)  # noqa: SLF001 - as torch, without flash
    return scaled_dot_product_attention(query, *args, **named)


_positions = modeling_m2m_100.M2M100SinusoidalPositionalEmbedding.forward
MISTAKES: Final = {
    "a mask in float32": Mistake(
        generator,
        "Writing",
        lambda caches, **asked: Writing(caches, **asked | {"dtype": torch.float32}),
        generate,
        "attention takes torch.bfloat16 and torch.float32",
    ),
    "indices left on the CPU": Mistake(
        generator,
        "Writing",
        lambda caches, **asked: Writing(caches, **asked | {"device": torch.device("cpu")}),
        generate,
        "index_put.* from the CPU",
    ),
    "tokens left on the CPU": Mistake(
        generator, "copied", lambda values, _: torch.tensor(values), generate, "from the CPU"
    ),
    "weights left on the CPU": Mistake(
        causal_lm, "move", _head_left, generate, r"mm.* from the CPU"
    ),
    "a mask of means left on the CPU": Mistake(
        encoder,
        "_mean",
        lambda hidden, weights: _mean(hidden, weights.cpu()),
        encode,
        "mul.* from the CPU",
    ),
    "keys that are repeated for a mask": Mistake(
        attention,
        "scaled_dot_product_attention",
        _with_a_tensor,
        read_in_two,
        "slowest",
    ),
    "positions in float32": Mistake(
        modeling_m2m_100.M2M100SinusoidalPositionalEmbedding,
        "forward",
        lambda *args, **named: _positions(*args, **named).float(),
        translate,
        "takes torch.bfloat16 and torch.float32",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found(gpu: Executor, folders: Folders, mistake: str) -> None:
    with pytest.raises(Unfit, match=MISTAKES[mistake].found):
        gpu.submit(spoil, mistake, folders).result(PATIENCE_S)


def test_another_torch_is_told_apart(gpu: Executor) -> None:
    with pytest.raises(RuntimeError, match="cannot be told of a GPU"):
        gpu.submit(pretend_with_another_torch).result(PATIENCE_S)
