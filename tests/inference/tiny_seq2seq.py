"""An encoder-decoder model of noise, for there is none to be had without a hub."""

from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import M2M100Config, M2M100ForConditionalGeneration

from events.models import ModelDeclared

START, PAD, END, UNKNOWN = range(4)
WORDS = ["le", "chat", "dort", "the", "cat", "sleeps", "ici", "here", ".", "!"]
CONTEXT = 64


def make(folder: Path) -> None:
    """Two layers, and a vocabulary of ten words and two languages."""
    words = ["<s>", "<pad>", "</s>", "<unk>", *WORDS, "fra_Latn", "__en__"]
    tokenizer = Tokenizer(
        models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece(prefix="")
    special = ["<s>", "<pad>", "</s>", "<unk>", "fra_Latn", "__en__"]
    tokenizer.add_special_tokens([AddedToken(one, special=True) for one in special])
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(3)
    config = M2M100Config(
        vocab_size=len(words),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_position_embeddings=CONTEXT,
        init_std=1.0,
        bos_token_id=START,
        pad_token_id=PAD,
        eos_token_id=END,
        decoder_start_token_id=END,
    )
    M2M100ForConditionalGeneration(config).save_pretrained(folder)


def declare(folder: Path) -> ModelDeclared:
    return ModelDeclared(
        name="tiny",
        source=f"seq2seq:{folder}",
        tasks=("translation",),
        languages=("fra_Latn", "en"),
    )
