"""Base models small enough for a test: a BERT-like encoder of a few thousand weights, written in a moment.

For the tests of trainers, plugins included. They know nothing, so a test may expect only what training teaches them.
"""

from __future__ import annotations

import string
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from autosft.base_models import BaseModel, describe

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def write_tiny_encoder(folder: Path, *, words: Iterable[str] = (), hidden_size: int = 16, seed: int = 0) -> Path:
    """Writes a two-layer BERT with random weights and its WordPiece tokenizer; returns the folder.

    Args:
        folder: Made where it is missing.
        words: Words with a token of their own, in lower case; all others are spelt out in letters and digits.
        hidden_size: Size of a token's vector, a multiple of 2.
        seed: Of the weights.
    """
    import torch
    from transformers import BertConfig, BertModel

    from autosft.trainers.encoder import quiet_transformers

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(words)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=2 * hidden_size,
        max_position_embeddings=64,
        # At the 0.02 of large models the tokens of so narrow an encoder can hardly be told apart.
        initializer_range=0.2,
    )
    with torch.random.fork_rng(), quiet_transformers():
        torch.manual_seed(seed)
        BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tiny_base_model(folder: Path) -> BaseModel:
    """Returns what autosft knows of a folder that `write_tiny_encoder` wrote."""
    return describe(str(folder), allow_download=False)


def _tokenizer(words: Iterable[str]) -> Any:
    from transformers import BertTokenizer

    characters = [*string.ascii_lowercase, *string.digits, *string.punctuation]
    pieces = [*_SPECIAL, *characters, *(f"##{character}" for character in characters), *words]
    return BertTokenizer(vocab={piece: at for at, piece in enumerate(dict.fromkeys(pieces))}, do_lower_case=True)
