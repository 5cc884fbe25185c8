"""Text generation by causal language models in transformers' form, from safetensors."""

import os
from pathlib import Path
from typing import Any, Final

import torch
from tokenizers import Tokenizer

from events.models import ModelDeclared
from inference.errors import ModelUnfit
from inference.models import FOLDERS, check_vocabulary
from inference.models.causal_lm.attention import NAME
from inference.models.causal_lm.generator import CausalLM
from inference.models.device import device_of, keep_threads, move
from inference.models.packed import pack

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read on import; weights are local or absent

from transformers import AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

_FAST: Final = ("amx_bf16", "avx512_bf16")  # without them a CPU imitates bfloat16, slowly

_OF_ALL: Final = ("dynamic", "longrope")  # go by the longest of the texts side by side


def load(where: str, declared: ModelDeclared) -> CausalLM:
    """Load a model from a folder, or from the folder of that name that `make setup` made.

    Raises:
        ModelUnfit: the folder lacks weights, the model attends in a way of its own, its tokenizer
            has more tokens than it, or its device no room for it.
        OSError: a file is missing.
    """
    folder = FOLDERS / where  # an absolute path stays what it is
    device = device_of(declared)
    keep_threads()  # the models beside it change theirs
    disable_progress_bar()  # type: ignore[no-untyped-call]  # a log has no use for it
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        folder,
        use_safetensors=True,
        output_loading_info=True,
        dtype=_dtype(device),
        attn_implementation=NAME,
        local_files_only=True,
        trust_remote_code=False,
    )
    model, info = loaded
    # layers that the file lacks are filled with random numbers, and nobody is told
    if info["missing_keys"]:
        missing = ", ".join(sorted(info["missing_keys"]))
        raise ModelUnfit(declared.name, f"weights are missing: {missing}")
    _check(model, declared)
    tokenizer = _tokenizer(folder)
    check_vocabulary(declared, tokenizer.get_vocab(), known=model.config.vocab_size)
    move(model, device, declared)
    if device.type == "cpu" and model.dtype == torch.bfloat16:
        pack(model)
    return CausalLM(
        model,
        tokenizer,
        slots=declared.limits.slots,
        context=model.config.max_position_embeddings,
        ends=_ends(model),
    )


def _dtype(device: torch.device) -> torch.dtype:
    """Bfloat16 where it is fast: on two cores with AMX half as fast again as float32."""
    can = torch.cpu.get_capabilities()
    fast = device.type != "cpu" or any(can.get(name) for name in _FAST)
    return torch.bfloat16 if fast else torch.float32


def _check(model: Any, declared: ModelDeclared) -> None:  # noqa: ANN401 - see CausalLM
    """Refuse what `attention.attend` does not do."""
    layers = set(getattr(model.config, "layer_types", None) or ["full_attention"])
    if not model._supports_attention_backend or layers != {"full_attention"}:  # noqa: SLF001 - there is no other way to ask
        raise ModelUnfit(declared.name, f"{model.config.model_type} attends in a way of its own")
    if getattr(model.config, "use_sliding_window", True) and getattr(
        model.config, "sliding_window", None
    ):
        raise ModelUnfit(declared.name, "it attends to a sliding window")
    rope = getattr(model.config, "rope_parameters", None) or {}
    by_layer = [one for one in rope.values() if isinstance(one, dict)]
    if any(one.get("rope_type") in _OF_ALL for one in (rope, *by_layer)):
        raise ModelUnfit(declared.name, "a text's positions would depend on the one beside it")


def _tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer alone: transformers' wrapper around it changes it with every call."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise FileNotFoundError(f"{file.name} is missing")
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _ends(model: Any) -> frozenset[int]:  # noqa: ANN401 - see CausalLM
    ends = model.generation_config.eos_token_id
    if ends is None:
        return frozenset()
    return frozenset([ends] if isinstance(ends, int) else ends)
