"""Embeddings, and what can be made of them, by sentence-transformers models."""

import os
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import torch
from msgspec import Struct
from tokenizers import Tokenizer

from events.models import ModelDeclared
from inference.errors import ModelUnfit
from inference.models import check_vocabulary, package_folder
from inference.models.device import device_of, move
from inference.models.sentence_transformers.encoder import SentenceEncoder, Skill
from inference.models.sentence_transformers.skills import (
    Embedding,
    Keyphrases,
    Similarity,
    ZeroShot,
    read_mood,
)

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read on import; weights are local or absent

from transformers import AutoModel, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

Config = TypeVar("Config")


class _Encoding(Struct):
    max_seq_length: int


class _Pooling(Struct):
    pooling_mode_mean_tokens: bool = False


def load(package: str, declared: ModelDeclared) -> SentenceEncoder:
    """Load a model that is installed as a Python package, from its safetensors.

    Raises:
        ModelUnfit: it is not installed, lacks weights or tokens, pools otherwise than by mean, or
            its device has no room for it.
        OSError: a file is missing.
    """
    folder = package_folder(package, declared.name)
    folder = folder / "model" if (folder / "model").is_dir() else folder
    device = device_of(declared)
    pooling = _read(folder / "1_Pooling" / "config.json", _Pooling)
    if not pooling.pooling_mode_mean_tokens:
        raise ModelUnfit(declared.name, "only mean pooling is supported")
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    disable_progress_bar()  # type: ignore[no-untyped-call]  # a log has no use for it
    model, info = AutoModel.from_pretrained(
        folder,
        use_safetensors=True,
        output_loading_info=True,
        dtype=torch.float32 if device.type == "cpu" else torch.bfloat16,
        **local,
    )
    # layers that the file lacks are filled with random numbers, and nobody is told
    missing = sorted(name for name in info["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise ModelUnfit(declared.name, f"weights are missing: {', '.join(missing)}")
    tokenizer = AutoTokenizer.from_pretrained(folder, **local)
    # a copy: transformers' own changes with every call, in another thread
    spelling = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    check_vocabulary(declared, tokenizer.get_vocab(), known=model.config.vocab_size)
    move(model, device, declared)
    return SentenceEncoder(
        model,
        tokenizer,
        _skills(package, Embedding(spelling, model.config.hidden_size)),
        max_tokens=_read(folder / "sentence_bert_config.json", _Encoding).max_seq_length,
        batch_tokens=declared.limits.batch_tokens,
    )


def _skills(package: str, embedding: Embedding) -> dict[str, Skill]:
    skills: dict[str, Skill] = {
        "embeddings": embedding,
        "semantic-similarity": Similarity(),
        "classification": ZeroShot(),
        "kw-kp-extraction": Keyphrases(),
    }
    mood = read_mood()
    if mood.encoder == package:  # of another model's vectors its weights know nothing
        skills["sentiment"] = mood
    return skills


def _read(path: Path, kind: type[Config]) -> Config:
    return msgspec.json.decode(path.read_bytes(), type=kind)
