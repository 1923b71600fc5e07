"""Base models small enough for a test: a BERT-like encoder of a few thousand weights, written in a moment.

For the tests of trainers, plugins included. They know nothing, so a test may expect only what training teaches them.
"""

from __future__ import annotations

import json
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

    from autosft.trainers.networks import quiet_transformers

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


def write_tiny_resnet(folder: Path, *, side: int = 16, seed: int = 0) -> Path:
    """Writes a ResNet of two stages with random weights, for images of `side` pixels; returns the folder."""
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    return _write_image_model(folder, ResNetForImageClassification, config, side, seed)


def write_tiny_vit(folder: Path, *, side: int = 16, seed: int = 0) -> Path:
    """Writes a two-layer vision transformer with random weights, for images of `side` pixels; returns the folder."""
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=side,
        patch_size=4,
        initializer_range=0.2,
    )
    return _write_image_model(folder, ViTForImageClassification, config, side, seed)


def write_tiny_convnext(folder: Path, *, side: int = 16, seed: int = 0) -> Path:
    """Writes a ConvNeXt of two stages with random weights, for images of `side` pixels; returns the folder."""
    from transformers import ConvNextConfig, ConvNextForImageClassification

    config = ConvNextConfig(num_stages=2, hidden_sizes=[8, 16], depths=[1, 1], patch_size=4, initializer_range=0.2)
    return _write_image_model(folder, ConvNextForImageClassification, config, side, seed)


def write_tiny_mobilevit(folder: Path, *, side: int = 32, seed: int = 0) -> Path:
    """Writes a MobileViT with random weights, for images of `side` pixels; returns the folder.

    Of the models that can checkpoint gradients it is one with batch normalisation.
    """
    from transformers import MobileViTConfig, MobileViTForImageClassification

    config = MobileViTConfig(
        image_size=side,
        hidden_sizes=[8, 8, 8],
        neck_hidden_sizes=[4, 4, 4, 4, 4, 4, 8],
        num_attention_heads=2,
        hidden_dropout_prob=0.0,
        classifier_dropout_prob=0.0,
    )
    return _write_image_model(folder, MobileViTForImageClassification, config, side, seed)


def _write_image_model(folder: Path, model: Any, config: Any, side: int, seed: int) -> Path:
    import torch

    from autosft.trainers.networks import quiet_transformers

    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(), quiet_transformers():
        torch.manual_seed(seed)
        model(config).save_pretrained(folder)
    row = {
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": side, "width": side},
        "resample": 2,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(row), encoding="utf-8")
    return folder


def write_tiny_decoder(
    folder: Path, *, words: Iterable[str] = (), hidden_size: int = 32, context_tokens: int = 128, seed: int = 0
) -> Path:
    """Writes a two-layer Llama with random weights and a tokenizer of words and single bytes; returns the folder.

    Args:
        folder: Made where it is missing.
        words: Words with a token of their own, as they are written; all other text is spelt out in bytes.
        hidden_size: Size of a token's vector, a multiple of 4.
        context_tokens: The longest sequence.
        seed: Of the weights.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from autosft.trainers.networks import quiet_transformers

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _byte_tokenizer(words)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=context_tokens,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.1,
    )
    with torch.random.fork_rng(), quiet_transformers():
        torch.manual_seed(seed)
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _byte_tokenizer(words: Iterable[str]) -> Any:
    """Returns a byte-level tokenizer without merges, to which the words are added whole."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    pieces = ["<pad>", "<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={piece: at for at, piece in enumerate(pieces)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(pieces[:3])
    tokenizer.add_tokens(list(words))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        clean_up_tokenization_spaces=False,
    )
